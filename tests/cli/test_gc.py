"""`gc` as it is called: what it says, what it frees, and that it touches nothing of a run that is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recording import Recorder

EXPORTS = ("pairs", "responses", "rewards", "metrics", "evaluations")


def read_run(call: Callable[..., Any], store: str, name: str) -> list[str]:
    return [call("export", name, "--what", what, "--store", store).stdout for what in EXPORTS]


def test_gc_frees_what_a_removed_run_left_and_a_dry_run_only_tells(
    call: Callable[..., Any], recorder: Recorder, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    recorder.record("first", "cream")
    recorder.record("second", "srlm")
    recorder.store.paths.checkpoint_folder("orphan").mkdir(parents=True)
    (recorder.store.paths.checkpoint_folder("orphan") / "model.safetensors").write_bytes(b"x" * 3_000_000)
    kept = read_run(call, store, "second")
    nothing = json.loads(call("gc", "--dry-run", "--json", "--store", store).stdout)
    assert {kind["kind"]: kind["n"] for kind in nothing["garbage"]}["stages"] == 0
    call("rm", "first", "--yes", "--store", store)
    planned = json.loads(call("gc", "--dry-run", "--json", "--store", store).stdout)
    by_kind = {kind["kind"]: kind for kind in planned["garbage"]}
    assert planned["freed_bytes"] is None and by_kind["stages"]["n"] > 0
    assert (by_kind["checkpoints"]["n"], by_kind["checkpoints"]["bytes"]) == (1, 3_000_000)
    called = call("gc", "--store", store)
    assert called.code == 0 and "models of removed runs" in called.stdout and "are free again" in called.stderr
    assert not recorder.store.paths.checkpoint_folder("orphan").exists()
    assert read_run(call, store, "second") == kept
    assert "every row and folder belongs to a run" in call("gc", "--store", store).stderr


def test_gc_needs_a_store(call: Callable[..., Any], tmp_path: Path) -> None:
    called = call("gc", "--store", str(tmp_path / "none"))
    assert called.code == 2 and "no store at" in called.stderr
    assert not (tmp_path / "none").exists()
