"""Hostile text in every place where text is kept, through every screen: nothing that a terminal obeys comes out.

OSC 52 (the clipboard), ESC[2J (clear), C1 controls, markup and bidirectional controls, in prompts, responses, answers,
names, tags, notes, errors and logs.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from driving import press, read_screen, settle

from cream_tui.app import CreamApp
from cream_tui.targets import CompareTarget, HealthTarget, LaunchTarget, PairsTarget, RunsTarget, RunTarget, Target

HOSTILE = (
    "\x1b]52;c;cm0gLXJm\x07\x1b[2J\x9b31m\x9d0;title\x9c [bold red]markup[/] $error "
    "\u202egnihton\u2066\u200b\ufeff\x00\x7f \x1bP1;1q\x1b\\ [link=x]a[/] \r over"
)
# What a terminal obeys or hides; the newline is the test's own.
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
PLACES = (
    ("prompt", "text"),
    ("prompt", "answer"),
    ("prompt", "task"),
    ("response", "text"),
    ("response", "extracted"),
    ("evaluation", "prompt"),
    ("evaluation", "response"),
    ("evaluation", "extracted"),
    ("evaluation", "gold"),
    ("run", "note"),
    ("run", "error"),
    ("run", "method"),
    ("run_tag", "tag"),
    ("stage", "error"),
    ("attempt", "error"),
    ("verdict", "note"),
)


@pytest.fixture
def hostile_store(store: Path) -> Path:
    with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
        connection.execute(
            "INSERT INTO verdict (stage_id, prompt_id, verdict, is_flagged, is_blind, note, at) "
            "SELECT stage_id, prompt_id, 'agree', 1, 0, '', 0 FROM pair WHERE chosen_k IS NOT NULL"
        )
        for table, column in PLACES:
            if column == "tag":
                connection.execute("UPDATE run_tag SET tag = tag || ?", (HOSTILE,))
            else:
                connection.execute(f"UPDATE {table} SET {column} = ?", (HOSTILE,))
        connection.execute("UPDATE run SET name = name || ?", (HOSTILE,))
        connection.execute("UPDATE run_stage SET label = label || ?", (HOSTILE,))
    for log in store.rglob("*.log"):
        log.write_text(f"{HOSTILE}\nlast {HOSTILE}", encoding="utf-8")
    return store


def list_targets(root: Path) -> list[Target]:
    with closing(sqlite3.connect(root / "cream.db")) as connection:
        ids = [row[0] for row in connection.execute("SELECT run_id FROM run ORDER BY created_at")]
        (failed,) = connection.execute("SELECT run_id FROM run WHERE state = 'failed'").fetchone()
    pairs = PairsTarget(ids[1])
    return [
        RunsTarget(),
        RunTarget(ids[1]),
        RunTarget(failed),
        pairs,
        CompareTarget((ids[0], ids[1])),
        LaunchTarget(source_run_id=ids[1]),
        HealthTarget(ids[1]),
    ]


# Keys that bring up everything that shows text, by the kind of target; escape closes it again.
KEYS: dict[type, tuple[str, ...]] = {
    RunsTarget: (
        "down",
        "end",
        "question_mark",
        "escape",
        "exclamation_mark",
        "escape",
        "e",
        "escape",
        "ctrl+p",
        "escape",
    ),
    RunTarget: ("O", "escape", "K", "escape", "pagedown", "question_mark", "escape"),
    PairsTarget: ("r", "r", "d", "d", "h", "escape", "B", "B", "H", "escape", "e", "escape", "tab", "j"),
    CompareTarget: ("d", "escape", "tab", "tab", "u", "pagedown"),
    LaunchTarget: ("ctrl+t", "escape"),
    HealthTarget: ("down", "exclamation_mark", "escape"),
}


@pytest.mark.parametrize("size", [(120, 40), (80, 24)], ids=["wide", "narrow"])
@pytest.mark.parametrize("place", range(7), ids=["runs", "run", "failed", "pairs", "compare", "launch", "health"])
async def test_nothing_that_a_terminal_obeys_comes_out(hostile_store: Path, place: int, size: tuple[int, int]) -> None:
    target = list_targets(hostile_store)[place]
    app = CreamApp(hostile_store, target)
    seen = ""
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        seen += read_screen(app)
        for key in KEYS[type(target)]:
            await press(pilot, key)
            text = read_screen(app)
            found = OBEYED.search(text)
            assert found is None, (
                f"{found[0]!r} after {key} in {text[max(0, found.start() - 60) : found.start() + 20]!r}"
            )
            seen += text
    if not isinstance(target, LaunchTarget):
        # Where a name is cut in its middle, its carriage return is what is left of it.
        assert any(mark in seen for mark in ("␛", "]52;c", "␍")), "the hostile text was not on the screen at all"


def test_the_check_sees_what_it_looks_for() -> None:
    for character in "\x1b\x07\x9b\x9d\u202e\u2066\u200b\ufeff\x00\x7f\r":
        assert character in HOSTILE and OBEYED.search(character)
