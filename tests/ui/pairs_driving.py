"""What tests of the Pairs screen share: the screen, rows of the store, typing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from driving import settle
from textual.pilot import Pilot

from cream_tui.app import CreamApp
from cream_tui.screens.pairs import PairsScreen

SIZES = [(120, 40), (80, 24)]
both_sizes = pytest.mark.parametrize("size", SIZES)


def get_screen(app: CreamApp) -> PairsScreen:
    assert isinstance(app.front, PairsScreen)
    return app.front


def query(root: Path, sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(root / "cream.db")) as connection:
        return connection.execute(sql, values).fetchall()


def find_run_id(root: Path, name: str = "cream-seed0") -> str:
    return str(query(root, "SELECT run_id FROM run WHERE name = ?", name)[0][0])


def read_verdicts(root: Path) -> list[Any]:
    return query(root, "SELECT prompt_id, verdict, is_flagged, is_blind, note FROM verdict ORDER BY at")


def list_toasts(app: CreamApp) -> str:
    return "\n".join(str(toast.message) for toast in app._notifications)


async def type_text(pilot: Pilot[Any], text: str) -> None:
    names = {
        " ": "space",
        ":": "colon",
        "<": "less_than_sign",
        ">": "greater_than_sign",
        "-": "minus",
        "=": "equals_sign",
    }
    await pilot.press(*[names.get(letter, letter) for letter in text])
    await settle(pilot)
