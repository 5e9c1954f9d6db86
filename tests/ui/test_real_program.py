"""The real program in a pseudo-terminal: from an empty store to an exported verdict, by keys alone."""

from __future__ import annotations

import csv
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pseudo_terminal import PseudoTerminal

PROGRAM = (sys.executable, "-P", "-m", "cream_tui")
Open = Callable[..., PseudoTerminal]


@pytest.fixture
def open_terminal(tmp_path: Path, own_settings: Path) -> Iterator[Open]:
    """Starts the program on a store of its own; ends it with the test."""
    opened: list[PseudoTerminal] = []

    def start(*words: str, root: Path = tmp_path / "fresh", env: dict[str, str] | None = None) -> PseudoTerminal:
        environment = {"CREAM_STORE": str(root), "XDG_CONFIG_HOME": str(tmp_path / "config"), **(env or {})}
        terminal = PseudoTerminal([*PROGRAM, *words], environment=environment, folder=tmp_path)
        opened.append(terminal)
        return terminal

    yield start
    for terminal in opened:
        terminal.end()


def call(root: Path, *words: str) -> str:
    environment = os.environ | {"CREAM_STORE": str(root)}
    return subprocess.run([*PROGRAM, *words], env=environment, capture_output=True, text=True, check=True).stdout


def count(root: Path, sql: str) -> int:
    with closing(sqlite3.connect(root / "cream.db", timeout=10)) as connection:
        return int(connection.execute(sql).fetchone()[0])


def test_from_the_first_start_to_an_exported_verdict(open_terminal: Open, tmp_path: Path) -> None:
    root = tmp_path / "fresh"
    terminal = open_terminal(root=root)
    terminal.wait_for("No runs yet")
    terminal.send("\r")
    terminal.wait_for("demo-cream")
    deadline = time.monotonic() + 240
    while count(root, "SELECT count(*) FROM run WHERE state = 'done'") < 2:
        assert time.monotonic() < deadline, terminal.text
        terminal.idle(0.5)
    terminal.send("1")
    terminal.wait_for(lambda text: text.count("✓ done") >= 2)
    terminal.send("3")
    terminal.wait_for("judged of")
    terminal.wait_for("chosen")
    terminal.send("a")
    terminal.wait_for(lambda text: "1 judged of" in text.replace("0 judged of", ""))
    terminal.send("s")
    terminal.wait_for("2 judged of")
    terminal.send("E")
    terminal.wait_for("Export what is shown to")
    terminal.send("mine.csv")
    terminal.wait_for("mine.csv")
    terminal.send("\r")
    terminal.wait_for("mine.csv")
    deadline = time.monotonic() + 60
    while not (tmp_path / "mine.csv").is_file():
        assert time.monotonic() < deadline, terminal.text
        terminal.idle(0.1)
    terminal.send("q")
    assert terminal.close() == 0
    with (tmp_path / "mine.csv").open(newline="") as file:
        shown = list(csv.DictReader(file))
    assert [row["verdict"] for row in shown[:2]] == ["agree", "swap"]
    rows = list(csv.DictReader(call(root, "export", "latest", "--what", "verdicts").splitlines()))
    assert sorted(row["verdict"] for row in rows) == ["agree", "swap"]


def test_the_view_is_found_again(open_terminal: Open, store: Path) -> None:
    terminal = open_terminal("cream-seed0/pairs", root=store)
    terminal.wait_for("judged of")
    terminal.send("q")
    assert terminal.close() == 0
    again = open_terminal(root=store)
    again.wait_for("judged of")
    again.send("q")
    assert again.close() == 0


def test_the_terminal_is_left_as_it_was_and_the_store_is_not_held(open_terminal: Open, store: Path) -> None:
    terminal = open_terminal(root=store)
    terminal.wait_for("cream-seed0")
    terminal.send("q")
    assert terminal.close() == 0
    for left in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?2004l"):
        assert left in terminal.raw


def test_no_color_writes_no_colour(open_terminal: Open, store: Path) -> None:
    terminal = open_terminal("cream-seed0", root=store, env={"NO_COLOR": "1"})
    terminal.wait_for("loss")
    terminal.idle(1.0)
    terminal.send("q")
    terminal.close()
    assert re.search(rb"\x1b\[(?:\d+;)*[34]8;[25];", terminal.raw) is None  # "38;81H" is a place
    assert not any(b"\x1b[%dm" % code in terminal.raw for code in (*range(30, 38), *range(40, 48), *range(90, 108)))


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_show_it_is_refused(open_terminal: Open, store: Path, term: str) -> None:
    terminal = open_terminal(root=store, env={"TERM": term})
    terminal.wait_for("cream-tui ls")
    assert terminal.close() == 2
    assert b"\x1b[?1049h" not in terminal.raw
    assert "TERM" in terminal.text


def test_a_store_that_does_not_fit_is_one_message_on_a_restored_terminal(open_terminal: Open, store: Path) -> None:
    with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
        connection.execute("ALTER TABLE run RENAME COLUMN note TO tone")
    terminal = open_terminal(root=store)
    terminal.wait_for("error:")
    assert terminal.close() == 2
    assert "no such column" in terminal.text and "cream-tui doctor" in terminal.text
    assert "Traceback" not in terminal.text
    assert b"\x1b[?1049l" in terminal.raw
