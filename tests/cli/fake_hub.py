"""A hub of our own on this machine: enough of the real one's interface for huggingface_hub to create and commit."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_thisIsTheSecretOfTheTest"


@dataclass
class FakeHub:
    """What was asked of it, and how it answers.

    Attributes:
        refusal: The status of every answer to a request that creates or writes; None: it does as it is told.
        public: Repositories that were there before and that everybody can read.
    """

    address: str = ""
    refusal: int | None = None
    public: set[str] = field(default_factory=set)
    created: dict[str, bool] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    tokens: list[str | None] = field(default_factory=list)


@contextmanager
def serve_hub(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = "/".join(self.path.split("?")[0].split("/")[3:5])
            is_known = name in hub.public or name in hub.created
            self._answer(200, {"id": name, "private": name not in hub.public, "siblings": []}) if is_known else (
                self._refuse(404)
            )

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hub.tokens.append(self.headers.get("Authorization"))
            if hub.refusal is not None and not self.path.endswith("validate-yaml"):
                self._refuse(hub.refusal)
            elif self.path == "/api/repos/create":
                asked = json.loads(body)
                name = asked["name"] if "organization" not in asked else f"{asked['organization']}/{asked['name']}"
                hub.created[name] = asked.get("private", asked.get("visibility") == "private")
                kind = "datasets/" if asked.get("type") == "dataset" else ""
                self._answer(200, {"url": f"{hub.address}/{kind}{name}", "id": name})
            elif self.path.endswith("/validate-yaml"):
                self._answer(200, {"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                files = [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in json.loads(body)["files"]
                ]
                self._answer(200, {"files": files})
            elif "/commit/" in self.path:
                for line in body.splitlines():
                    entry = json.loads(line)
                    if entry["key"] == "file":
                        hub.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                kind, owner, name = self.path.split("/")[2:5]
                place = f"{hub.address}/{'datasets/' if kind == 'datasets' else ''}{owner}/{name}"
                oid = "0" * 40
                commit = {"success": True, "commitOid": oid, "commitUrl": f"{place}/commit/{oid}", "hookOutput": ""}
                self._answer(200, commit)
            else:
                self._refuse(404)

        def _refuse(self, status: int) -> None:
            header = {404: "RepoNotFound"}.get(status)
            self._answer(status, {"error": "refused"}, header)

        def _answer(self, status: int, content: object, error_code: str | None = None) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if error_code is not None:
                self.send_header("X-Error-Code", error_code)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
