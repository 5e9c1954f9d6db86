"""Which run or study a word means: whole names and ids, starts of them, and what is near where it means none.

Light: plain sqlite3. Must not know what a run or a study is, beyond its id and name.
"""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from db.errors import RunNotFoundError
from db.reading import fetch_rows

# Shorter starts of an id are none: a name that is gone may begin like the id of something else.
SHORTEST_ID_START = 4
_N_SHOWN = 8


class Named(NamedTuple):
    """A run or study as it can be called."""

    key: str
    name: str
    is_study: bool


def read_named(c: sqlite3.Connection) -> tuple[list[Named], list[Named]]:
    """All studies, and all runs; the newest last."""
    studies = fetch_rows(c, "SELECT study_id, name FROM study ORDER BY created_at, study_id")
    runs = fetch_rows(c, "SELECT run_id, name FROM run ORDER BY created_at, rowid")
    return [Named(key, name, True) for key, name in studies], [Named(key, name, False) for key, name in runs]


def find_exact(known: Sequence[Named], reference: str) -> Named | None:
    """The one of this id, else the first of this name."""
    by_id = next((one for one in known if one.key == reference), None)
    return by_id or next((one for one in known if one.name == reference), None)


def find_starts(known: Sequence[Named], reference: str) -> list[Named]:
    """Those whose id starts so, else those whose name does."""
    return _find_ids(known, reference) or _find_names(known, reference)


def refuse(known: Sequence[Named], reference: str, *, noun: str) -> RunNotFoundError:
    """Why a word means none of these alone: it starts several, or is unknown; the hint lists what it may mean.

    Args:
        noun: what was looked for, as "run".
    """
    starts = find_starts(known, reference)
    if starts:
        return RunNotFoundError(
            f"{reference!r} is the start of {_count(starts)}", hint=f"name one of {list_named(starts)}"
        )
    words = [word for one in known for word in (one.key, one.name)]
    nearest = set(difflib.get_close_matches(reference, words, n=_N_SHOWN, cutoff=0.5))
    near = [one for one in known if nearest & {one.key, one.name}]
    newest = list_named(known[-_N_SHOWN:])
    return RunNotFoundError(
        f"no {noun} {reference!r} in the store",
        hint=f"nearest: {list_named(near)}" if near else f"the newest are {newest}",
    )


def refuse_start(known: Sequence[Named], reference: str) -> RunNotFoundError:
    """Why something is not ended or removed by a word that is no whole name or id."""
    starts = list(dict.fromkeys(_find_ids(known, reference) + _find_names(known, reference)))
    if reference == "latest":
        starts += [one for one in known if not one.is_study][-1:]
    if not starts:
        return refuse(known, reference, noun="run or study")
    return RunNotFoundError(
        f"{reference!r} is no whole name or id of a run or study, and stop and rm take nothing else",
        hint=f"it may mean {list_named(starts)}",
    )


def list_named(known: Sequence[Named]) -> str:
    """Names with ids, the first few."""
    shown = ", ".join(f"{'study ' if one.is_study else ''}{one.name} ({one.key})" for one in known[:_N_SHOWN])
    return shown + (", ..." if len(known) > _N_SHOWN else "")


def _find_ids(known: Sequence[Named], reference: str) -> list[Named]:
    return [one for one in known if one.key.startswith(reference)] if len(reference) >= SHORTEST_ID_START else []


def _find_names(known: Sequence[Named], reference: str) -> list[Named]:
    return [one for one in known if reference and one.name.startswith(reference)]


def _count(known: Sequence[Named]) -> str:
    n_studies = sum(one.is_study for one in known)
    n_runs = len(known) - n_studies
    counts = ((n_studies, "study", "studies"), (n_runs, "run", "runs"))
    return " and ".join(f"{n} {one if n == 1 else more}" for n, one, more in counts if n)
