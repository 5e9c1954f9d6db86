"""The views of which pictures are kept: for the snapshot tests, and for the documents.

``python tests/ui/pictures.py`` writes those that the documents show into docs/screens. The clock, the disk and the
names of places are frozen, so that equal views give equal pictures.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from driving import press, settle

from cream_tui.app import CreamApp
from cream_tui.saving import draw_picture
from cream_tui.targets import CompareTarget, LaunchTarget, PairsTarget, RunsTarget, RunTarget, Target

RECORDED = Path(__file__).parent / "recorded"
DOCUMENTS = Path(__file__).resolve().parents[2] / "docs" / "screens"
WIDE, NARROW = (120, 40), (80, 24)
# Textual makes the names of a picture's styles from a digest of its content and the process.
_UNIQUE = re.compile(r"terminal-\d+")


@dataclass(frozen=True, slots=True)
class View:
    """A view of the recorded store: where, how large, after which keys."""

    name: str
    target: Callable[[dict[str, str]], Target]
    size: tuple[int, int] = WIDE
    keys: tuple[str, ...] = ()
    theme: str | None = None
    document: str | None = None


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


ARMS = ("srlm-seed0", "cream-seed0")
ALL = ("srlm-seed0", "srlm-seed1", "srlm-seed2", "cream-seed0", "cream-seed1", "cream-seed2")
VIEWS = (
    View("runs", runs, document="runs"),
    View("runs-narrow", runs, NARROW),
    View("run", run("cream-seed0"), document="run"),
    View("run-narrow", run("cream-seed0"), NARROW),
    View("run-failed", run("too-fast")),
    View("pairs", pairs("cream-seed0"), document="pairs"),
    View("pairs-narrow", pairs("cream-seed0"), NARROW),
    View("compare", compare(*ARMS), document="compare"),
    View("compare-seeds", compare(*ALL)),
    View("compare-narrow", compare(*ARMS), NARROW),
    View("launch", launch("cream-seed0"), document="launch"),
    View("launch-narrow", launch("cream-seed0"), NARROW),
)


async def draw(view: View, root: Path) -> str:
    """The picture of a view of this store, as SVG."""
    with closing(sqlite3.connect(root / "cream.db")) as connection:
        ids = {row[1]: row[0] for row in connection.execute("SELECT run_id, name FROM run")}
    app = CreamApp(root, view.target(ids))
    async with app.run_test(size=view.size) as pilot:
        if view.theme is not None:
            app.theme = view.theme
        await settle(pilot)
        await press(pilot, *view.keys)
        return _UNIQUE.sub("terminal", draw_picture(app))


def copy_store(folder: Path) -> Path:
    """A copy of the recorded store, one hour after its last run began."""
    root = folder / "store"
    shutil.copytree(RECORDED, root)
    return root


def find_now(root: Path) -> float:
    """One hour after the last run of the store began."""
    with closing(sqlite3.connect(root / "cream.db")) as connection:
        return float(connection.execute("SELECT max(created_at) FROM run").fetchone()[0]) + 3600.0


def main() -> int:
    """Write the pictures of the documents."""
    DOCUMENTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CONFIG_HOME"] = folder
        root = copy_store(Path(folder))
        now = find_now(root)
        time.time = lambda: now
        for view in VIEWS:
            if view.document is not None:
                (root / "view.json").unlink(missing_ok=True)
                (DOCUMENTS / f"{view.document}.svg").write_text(asyncio.run(draw(view, root)), encoding="utf-8")
                print(f"docs/screens/{view.document}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
