"""A run that was imported as text: the screens show what is known of it and say of the rest that it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from driving import press, read_screen
from textual.pilot import Pilot

from cream_tui.app import CreamApp
from cream_tui.targets import PairsTarget, RunsTarget, RunTarget
from engine.runtime.imports import import_results

OpenApp = Callable[..., AbstractAsyncContextManager[tuple[CreamApp, Pilot[int]]]]


@pytest.fixture
def imported(tmp_path: Path) -> tuple[Path, str]:
    """A store with one run of two prompts, and the run's id."""
    asked = {f"u{k}": [{"role": "user", "content": f"Which is number {k}?"}] for k in range(2)}
    texts = ["the first one", "the second one", "no idea"]
    talks = {
        name: [[*prompt, {"role": "assistant", "content": text}] for text in texts] for name, prompt in asked.items()
    }
    current = {
        name: {"prompt": prompt, "response": talks[name], "score": [-9.0, -20.0, -30.0], "ref_score": [-12.0] * 3}
        | {"reward": [3.0, -8.0, -18.0]}
        for name, prompt in asked.items()
    }
    previous = {name: item | {"ref_score": [0] * 3, "reward": item["score"]} for name, item in current.items()}
    paths = []
    for name, content in (("current", current), ("previous", previous)):
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(content))
    root = tmp_path / "imported"
    return root, import_results(root, paths, name="theirs").run.run_id


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_pairs_of_an_imported_run_are_read_and_judged(
    open_app: OpenApp, imported: tuple[Path, str], size: tuple[int, int]
) -> None:
    root, run_id = imported
    async with open_app(PairsTarget(run_id), root=root, size=size) as (app, pilot):
        if size[0] == 80:
            await press(pilot, "enter")
        text = read_screen(app)
        assert "Which is number 0?" in text and "the first one" in text and "no idea" in text
        assert ("length unknown" in text or size[0] == 80) and "None" not in text
        await press(pilot, "s")
        assert "1 judged of 2" in read_screen(app)
        await press(pilot, "r")
        assert "the second one" in read_screen(app) and "None" not in read_screen(app)


async def test_an_imported_run_stands_in_the_lists(open_app: OpenApp, imported: tuple[Path, str]) -> None:
    root, run_id = imported
    async with open_app(RunsTarget(), root=root) as (app, _):
        assert "theirs" in read_screen(app) and "imported" in read_screen(app)
    async with open_app(RunTarget(run_id), root=root) as (app, _):
        text = read_screen(app)
        assert "pair t=1" in text or "pair" in text
        assert "Traceback" not in text
