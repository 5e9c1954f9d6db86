"""The views of which pictures are kept: for the snapshot tests, and for the documents.

``python tests/ui/pictures.py`` writes those that the documents show into docs/screens. The clock, the disk and the
names of places are frozen, so that equal views give equal pictures.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from driving import copy_store, press, settle
from made_studies import SEEDS, WAITING, add_study
from textual.widgets import Input

from cream_tui.app import CreamApp
from cream_tui.screens.launch import DEBOUNCE_S
from cream_tui.shell.saving import draw_picture
from cream_tui.targets import (
    CompareTarget,
    HealthTarget,
    LaunchTarget,
    PairsTarget,
    RunsTarget,
    RunTarget,
    StudyTarget,
    Target,
)
from cream_tui.views import launch_reader
from cream_tui.views.launch_checks import Machine
from engine.runtime import preview

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs" / "screens"
WIDE, NARROW = (120, 40), (80, 24)
# Textual makes the names of a picture's styles from a digest of its content and the process.
_UNIQUE = re.compile(r"terminal-\d+")


@dataclass(frozen=True, slots=True)
class View:
    """A view of the recorded store: where, how large, after which keys; ``has_study``: with its runs as a study."""

    name: str
    target: Callable[[dict[str, str]], Target]
    size: tuple[int, int] = WIDE
    keys: tuple[str, ...] = ()
    theme: str | None = None
    document: str | None = None
    has_study: bool = False


def runs(_: dict[str, str]) -> Target:
    return RunsTarget()


def run(name: str) -> Callable[[dict[str, str]], Target]:
    return lambda ids: RunTarget(ids[name])


def pairs(name: str, filter_text: str | None = None) -> Callable[[dict[str, str]], Target]:
    return lambda ids: PairsTarget(ids[name], filter_text=filter_text)


def compare(*names: str) -> Callable[[dict[str, str]], Target]:
    return lambda ids: CompareTarget(tuple(ids[name] for name in names))


def launch(name: str, at: str | None = None) -> Callable[[dict[str, str]], Target]:
    return lambda ids: LaunchTarget(source_run_id=ids[name], fork_at=at)


def health(name: str, key: str | None = None) -> Callable[[dict[str, str]], Target]:
    return lambda ids: HealthTarget(ids[name], key)


def study(_: dict[str, str]) -> Target:
    return StudyTarget("id-reviewers")


ARMS = ("srlm-seed0", "cream-seed0")
ALL = ("srlm-seed0", "srlm-seed1", "srlm-seed2", "cream-seed0", "cream-seed1", "cream-seed2")
VIEWS = (
    View("runs", runs, document="runs"),
    View("runs-narrow", runs, NARROW),
    View("runs-light", runs, theme="cream-light"),
    View("runs-contrast-narrow", runs, NARROW, theme="cream-contrast"),
    View("runs-terminal-colours", runs, theme="ansi-dark"),
    View("runs-selected", runs, keys=("j", "space", "j", "space")),
    View("runs-study", runs, keys=("home", "down", "enter", "down", "enter"), has_study=True, document="runs-study"),
    View("help", runs, keys=("question_mark",)),
    View("run", run("cream-seed0"), document="run"),
    View("run-narrow", run("cream-seed0"), NARROW),
    View("run-light", run("cream-seed0"), theme="cream-light"),
    View("run-cursor", run("cream-seed0"), keys=("right_square_bracket",) * 3),
    View("run-one-chart", run("cream-seed0"), keys=("z",)),
    View("run-second-page", run("cream-seed0"), keys=("pagedown",)),
    View("run-stages", run("cream-seed0"), keys=("T",)),
    View("run-failed", run("too-fast")),
    View("run-stopped-narrow", run("stopped-early"), NARROW),
    View("pairs", pairs("cream-seed0"), document="pairs"),
    View("pairs-narrow", pairs("cream-seed0"), NARROW),
    View("pairs-light", pairs("cream-seed0"), theme="cream-light"),
    View("pairs-wrong", pairs("cream-seed0", "label:wrong")),
    View("pairs-unified", pairs("cream-seed0"), keys=("d",)),
    View("pairs-responses", pairs("cream-seed0"), keys=("r",)),
    View("pairs-blind", pairs("cream-seed0"), keys=("B",)),
    View("pairs-tau", pairs("cream-seed0"), keys=("H",)),
    View("pairs-judged", pairs("cream-seed0"), keys=("a", "s", "t", "f", "v")),
    View("compare", compare(*ARMS), document="compare"),
    View("compare-seeds", compare(*ALL)),
    View("compare-narrow", compare(*ARMS), NARROW),
    View("compare-answers", compare(*ARMS), keys=("d",)),
    View("health", health("cream-seed2", "accuracy_from_previous"), document="health"),
    View("health-narrow", health("cream-seed2"), NARROW),
    View("study", study, keys=("down",), has_study=True, document="study"),
    View("study-narrow", study, NARROW, keys=("down",), has_study=True),
    View("launch", launch("cream-seed0"), document="launch"),
    View("launch-narrow", launch("cream-seed0"), NARROW),
    View("launch-fork", launch("cream-seed0", "M2")),
    View("launch-dry-run", launch("cream-seed0"), keys=("ctrl+t",)),
)


async def draw(view: View, root: Path) -> str:
    """The picture of a view of this store, as SVG."""
    if view.has_study:
        add_study(root, "reviewers", [*SEEDS, *WAITING, ("fast", 0, "too-fast")], finished_at=find_now(root))
    with closing(sqlite3.connect(root / "cream.db")) as connection:
        ids = {row[1]: row[0] for row in connection.execute("SELECT run_id, name FROM run")}
    os.chdir(root.parent)  # the place of the store is shown
    app = CreamApp(Path(root.name), view.target(ids))
    async with app.run_test(size=view.size) as pilot:
        if view.theme is not None:
            app.theme = view.theme
        while app._states is None:  # the watcher's first look makes every screen read once more
            await pilot.pause(0.02)
        await settle(pilot)
        await press(pilot, *view.keys)
        for line in app.screen.query(Input):
            line.cursor_blink = False
        await pilot.pause(2 * DEBOUNCE_S)  # a form is looked at a moment after it was filled
        await settle(pilot)
        return _UNIQUE.sub("terminal", draw_picture(app))


@contextmanager
def frozen(root: Path) -> Iterator[None]:
    """One hour after the last run of the store began, on a machine that is always the same."""
    machine = Machine(60 << 30, 20 << 30, None)
    with (
        patch.object(time, "time", lambda: find_now(root)),
        patch.object(launch_reader, "read_machine", lambda _: machine),
        patch.object(preview, "find_free_bytes", lambda _: machine.disk_bytes),
    ):
        yield


def find_now(root: Path) -> float:
    """One hour after the last run of the store began."""
    with closing(sqlite3.connect(root / "cream.db")) as connection:
        return float(connection.execute("SELECT max(created_at) FROM run").fetchone()[0]) + 3600.0


def main() -> int:
    """Write the pictures of the documents."""
    DOCUMENTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CONFIG_HOME"] = folder
        for view in VIEWS:
            if view.document is None:
                continue
            root = copy_store(Path(folder) / view.name, is_usable=False)
            with frozen(root):
                (DOCUMENTS / f"{view.document}.svg").write_text(asyncio.run(draw(view, root)), encoding="utf-8")
                print(f"docs/screens/{view.document}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
