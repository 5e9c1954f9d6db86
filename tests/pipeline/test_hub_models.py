"""M0 from the hub: the real client against a small hub on this machine, in processes of their own.

The client reads its endpoint once, at import, so every hub needs a process; each asks for several models.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.artifacts import Base, compute_folder_digest
from engine.config.shipped import find_configs_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_" + "Secret0Secret0Secret"
SANDBOX = find_configs_folder() / "models" / "sandbox"
FILES = {
    path.name: path.read_bytes() for path in SANDBOX.iterdir() if path.suffix in (".json", ".safetensors", ".jinja")
}
# A second copy of the weights in another layout, as Mistral's repositories have one, and a folder of another program.
FILES |= {"consolidated.safetensors": b"0" * 64, "onnx/config.json": b"{}"}
ASK = """
import json, sys
from pathlib import Path
from engine.artifacts import find_base, resolve_base
from engine.errors import CheckpointError
from engine.config.shipped import find_configs_folder
found = {}
for name, revision in json.loads(sys.argv[1]):
    try:
        base = resolve_base("hf", name, revision, configs_folder=find_configs_folder())
        found[name] = {"folder": str(base.folder), "commit": base.commit, "digest": base.digest,
                       "files": sorted(str(p.relative_to(base.folder)) for p in base.folder.rglob("*"))}
    except CheckpointError as error:
        found[name] = {"message": error.message, "hint": error.hint, "cause": repr(error.__cause__)}
print(json.dumps(found))
"""


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does: metadata of a gated model is public, its files are not.

    The client asks for a tree with a query, which could as well be a signature: no message may show it.
    """

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        status, headers, body = self._find()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _find(self) -> tuple[int, Mapping[str, str], bytes]:
        path = self.path.partition("?")[0]
        name = "/".join(path.removeprefix("/api/models").removeprefix("/api/datasets").split("/")[1:3])
        if name == "some/missing":
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if name == "some/private":
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, b""
        if name == "some/forbidden":
            return 403, {"X-Error-Message": f"token {TOKEN} lacks rights"}, b""
        if name == "some/broken" and "/tree/" in path:
            return 418, {}, b""
        if path.endswith("/revision/no-such-branch"):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if path == "/api/datasets/some/data" or (path.startswith("/api/models/") and "/revision/" in path):
            return 200, {}, json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode()
        if path.startswith("/api/models/") and "/tree/" in path:
            files = [
                {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for file, data in FILES.items()
            ]
            return 200, {}, json.dumps(files).encode()
        if name == "some/gated":
            return (
                401,
                {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model some/gated is restricted."},
                b"",
            )
        data = FILES.get(path.partition("/resolve/")[2].partition("/")[2])
        if data is None:  # the client also asks for things of its own
            return 404, {}, b""
        return 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}, data


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(endpoint: str, home: Path, *models: tuple[str, str | None], **variables: str) -> dict[str, dict[str, str]]:
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment = cleared | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"} | variables
    done = subprocess.run(
        [sys.executable, "-P", "-c", ASK, json.dumps(models)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {word for word in (TOKEN, "recursive=") if word in done.stdout + done.stderr}
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def test_a_model_is_fetched_once_and_pinned_to_its_commit(hub: str, tmp_path: Path) -> None:
    """Only what transformers reads comes; a second start needs no network, and has the same digest."""
    first = ask(hub, tmp_path, ("some/model", None))["some/model"]
    assert (first["commit"], Path(first["folder"]).name) == (COMMIT, COMMIT)
    assert "model.safetensors" in first["files"]
    assert not {"consolidated.safetensors", "onnx"} & set(first["files"])
    assert first["digest"] == compute_folder_digest(Path(first["folder"]))
    offline = ask("http://127.0.0.1:9", tmp_path, ("some/model", None), HF_HUB_OFFLINE="1")["some/model"]
    assert offline == first


def test_what_cannot_be_fetched_says_why_and_never_shows_the_token(hub: str, tmp_path: Path) -> None:
    asked = (
        ("some/missing", None),
        ("some/gated", None),
        ("some/private", None),
        ("some/forbidden", None),
        ("some/broken", None),
        ("some/branches", "no-such-branch"),
        ("not/a/hub/name", None),
    )
    found = ask(hub, tmp_path, *asked, HF_TOKEN=TOKEN)
    expected = {
        "some/missing": ("there is no some/missing on the hub, nor a folder", "check the name"),
        "some/gated": ("some/gated is gated", "accept its licence on the hub, then set HF_TOKEN"),
        "some/private": ("the hub refuses some/private (HTTP 401)", "set HF_TOKEN to a token that may read it"),
        "some/forbidden": ("the hub refuses some/forbidden (HTTP 403)", "set HF_TOKEN"),
        "some/broken": ("cannot fetch some/broken from the hub: Client error '418", "check the network"),
        "some/branches": (
            "model.revision: some/branches has no revision no-such-branch",
            "a branch, a tag or a commit",
        ),
        "not/a/hub/name": ("neither a folder here nor a valid hub name", "check model.path"),
    }
    assert set(found) == set(expected)
    for name, (message, hint) in expected.items():
        assert message in found[name]["message"] and hint in found[name]["hint"], found[name]


ASK_FOR_DATA = """
import json, sys
from engine.config.load import load_run_config
from engine.errors import TaskError
from engine.runtime.hub_sources import check_hub_sources
for override in json.loads(sys.argv[1]):
    try:
        check_hub_sources(load_run_config("sandbox", overrides=[override]))
        print("none")
    except TaskError as error:
        print(error.message)
"""


def test_data_sets_that_the_hub_denies_are_refused_before_the_start(hub: str, tmp_path: Path) -> None:
    """What nobody could be asked about is left to the stage: it may lie in a cache."""
    asked = {
        "data.prompts={path: some/data}": "none",
        "data.prompts={path: some/missing}": "data.prompts: there is no data set some/missing on the hub",
        "data.sft={path: some/gated}": "data.sft: some/gated is gated",
        "data.sft={path: not/a/hub/name}": "data.sft: not/a/hub/name is neither a file or folder here nor a name",
        "evaluation.tasks=[{task: t, path: some/missing}]": "evaluation.tasks: there is no data set some/missing",
    }

    def ask_for_data(endpoint: str) -> list[str]:
        variables = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_TOKEN": TOKEN}
        command = [sys.executable, "-P", "-c", ASK_FOR_DATA, json.dumps(list(asked))]
        cleared = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        done = subprocess.run(command, env=cleared | variables, capture_output=True, text=True, check=True)
        assert TOKEN not in done.stdout + done.stderr
        return done.stdout.splitlines()

    for found, (override, message) in zip(ask_for_data(hub), asked.items(), strict=True):
        assert found.startswith(message), override
    assert ask_for_data("http://127.0.0.1:9")[:2] == ["none", "none"]


def test_without_a_token_one_is_asked_for(hub: str, tmp_path: Path) -> None:
    found = ask(hub, tmp_path, ("some/gated", None))
    assert "then run `hf auth login` or set HF_TOKEN" in found["some/gated"]["hint"]


def test_no_network_and_offline_mode_are_told_apart(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else answers there
        taken.bind(("127.0.0.1", 0))
        found = ask(f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path, ("some/model", None))
    assert "cannot fetch some/model from the hub" in found["some/model"]["message"]
    assert "refused" in found["some/model"]["message"] and "check the network" in found["some/model"]["hint"]
    found = ask("http://127.0.0.1:9", tmp_path, ("some/model", None), HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids to fetch it" in found["some/model"]["message"]


@pytest.mark.parametrize(
    ("folder", "commit"),
    [(f"cache/snapshots/{COMMIT}", COMMIT), ("cache/snapshots/main", None), (f"models/{COMMIT}", None)],
)
def test_a_commit_is_the_name_of_a_snapshot(folder: str, commit: str | None) -> None:
    assert Base(Path(folder), "digest").commit == commit
