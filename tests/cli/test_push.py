"""`export --push-to-hub` through the real hub client, against a hub on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_hub import TOKEN, FakeHub, serve_hub
from test_export_folder import record_with_models


def push(spawn: Callable, hub: FakeHub, root: Path, *more: str, token: str | None = TOKEN) -> tuple[int, str, str]:
    env = {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(root / "hf"),
        "HF_TOKEN": token or "",
        "CREAM_STORE": str(root),
    }
    done = spawn("export", "demo", "--push-to-hub", "me/mine", *more, env=env)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with model folders; read only."""
    return record_with_models(tmp_path_factory.mktemp("models") / "store")


def test_a_checkpoint_is_private_unless_asked_otherwise(spawn: Callable, root: Path) -> None:
    with serve_hub(FakeHub()) as hub:
        code, stdout, stderr = push(spawn, hub, root, "--what", "checkpoint")
    assert (code, stdout.strip()) == (0, f"{hub.address}/me/mine"), stderr
    assert hub.created == {"me/mine": True}
    assert set(hub.files) == {"README.md", "config.json", "model.safetensors"}
    assert set(hub.tokens) == {f"Bearer {TOKEN}"}
    assert TOKEN not in stdout + stderr + "".join(text.decode(errors="replace") for text in hub.files.values())


def test_a_dataset_may_be_public(spawn: Callable, root: Path) -> None:
    with serve_hub(FakeHub()) as hub:
        code, stdout, stderr = push(spawn, hub, root, "--what", "dataset", "--public")
    assert (code, stdout.strip()) == (0, f"{hub.address}/datasets/me/mine"), stderr
    assert hub.created == {"me/mine": False}
    assert set(hub.files) == {"README.md", "data/train-00000-of-00001.parquet"}


def test_nothing_private_goes_to_a_place_that_everybody_can_read(spawn: Callable, root: Path) -> None:
    with serve_hub(FakeHub(public={"me/mine"})) as hub:
        code, _, stderr = push(spawn, hub, root, "--what", "checkpoint")
    assert code == 2 and "everybody can read it" in stderr
    assert not hub.files and not hub.created


@pytest.mark.parametrize(("status", "words"), [(401, "does not accept the token"), (403, "may not write there")])
def test_a_refusal_is_one_message_without_the_token(spawn: Callable, root: Path, status: int, words: str) -> None:
    with serve_hub(FakeHub(refusal=status)) as hub:
        code, stdout, stderr = push(spawn, hub, root, "--what", "checkpoint")
    assert (code, stdout) == (2, "")
    errors = [line for line in stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and words in errors[0]
    assert TOKEN not in stderr and "Traceback" not in stderr


def test_without_a_token_or_a_network_it_says_so(spawn: Callable, root: Path) -> None:
    hub = FakeHub(address="http://127.0.0.1:9")  # nobody listens there
    code, _, stderr = push(spawn, hub, root, "--what", "checkpoint", token=None)
    assert code == 2 and "nobody is logged in" in stderr and "hf auth login" in stderr
    code, _, stderr = push(spawn, hub, root, "--what", "checkpoint")
    assert code == 5 and "not uploaded" in stderr


def test_tables_are_not_pushed(call: Callable, root: Path) -> None:
    called = call("export", "demo", "--push-to-hub", "me/mine", "--store", str(root))
    assert called.code == 2 and "--what checkpoint" in called.stderr
    called = call("export", "demo", "--what", "checkpoint", "--push-to-hub", "mine", "--store", str(root))
    assert called.code == 2 and "USER/NAME" in called.stderr
