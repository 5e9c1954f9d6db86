"""`pairs`: the preference pairs of a run, to read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from cream_tui import diagnostics, output
from cream_tui.output import Cell, Line
from cream_tui.result_table import STAND_IN_ITERATION, STAND_IN_LEGEND
from cream_tui.stores import open_run_reader
from cream_tui.text import make_visible
from cream_tui.units import format_number, format_signed
from db.pair_views import PairView, read_pairs_view
from db.queries import find_run
from engine.errors import ExitCode, find_nearest

# What a reader calls an order, and what the store calls it.
SORTS = {
    "iteration": "position",
    "consistency": "consistency_rate",
    "margin": "margin",
    "confidence": "confidence",
    "length": "length_difference",
}
_MARKS = {True: Cell(", right", "green"), False: Cell(", wrong", "red")}


@dataclass(frozen=True, slots=True)
class Wish:
    """Which pairs, in which order."""

    sort: str
    is_descending: bool = False
    limit: int = 0
    iteration: int | None = None
    is_wrong_only: bool = False


def pairs(store: str | None, run: str, wish: Wish, *, as_json: bool) -> int:
    """Print the pairs."""
    if wish.sort not in SORTS:
        nearest = find_nearest(wish.sort, SORTS)
        raise diagnostics.UsageProblem(
            f"--sort {wish.sort}: there is no such order" + (f"; did you mean {nearest}?" if nearest else ""),
            f"There are {', '.join(SORTS)}.",
        )
    if wish.limit < 0:
        raise diagnostics.UsageProblem(f"--limit {wish.limit}: is below 0", "0 shows all.")
    with open_run_reader(store) as (_, connection):
        found = find_run(connection, run)
        shown = read_pairs_view(
            connection,
            found.run_id,
            sort=SORTS[wish.sort],
            descending=wish.is_descending,
            limit=None if wish.is_wrong_only or not wish.limit else wish.limit,
            iteration=wish.iteration,
        )
    if wish.is_wrong_only:
        shown = [pair for pair in shown if pair.chosen_correct is False and pair.rejected_correct is True]
        shown = shown[: wish.limit or None]
    if as_json:
        output.print_json([dataclasses.asdict(pair) for pair in shown])
    else:
        _print(shown)
        if not shown:
            diagnostics.narrate(f"{found.name}: no such pairs")
    return ExitCode.DONE


def _print(pairs: Sequence[PairView]) -> None:
    for pair in pairs:
        output.print_lines([*_lay_out(pair), []])
    if any(map(_has_stand_in, pairs)):
        output.print_paragraph(STAND_IN_LEGEND, "dim")


def _has_stand_in(pair: PairView) -> bool:
    return pair.iteration == STAND_IN_ITERATION and pair.tau_previous is not None


def _lay_out(pair: PairView) -> list[Line]:
    facts = [
        ("margin", format_number(pair.margin)),
        ("tau", format_signed(pair.tau_previous) + ("*" if _has_stand_in(pair) else "")),
        ("anchor", format_signed(pair.tau_anchor)),
        ("consistency", format_number(pair.consistency_rate)),
        ("C", format_number(pair.confidence)),
    ]
    head: Line = [Cell(f"t={pair.iteration}", "bold"), Cell(f"  {make_visible(pair.prompt_id)}", "dim")]
    for name, value in facts:
        head += [Cell(f"  {name} ", "dim"), Cell(value)]
    sides = (
        ("chosen", pair.chosen, pair.chosen_n_tokens, pair.chosen_correct),
        ("rejected", pair.rejected, pair.rejected_n_tokens, pair.rejected_correct),
    )
    lines = [head, [Cell("  prompt", "dim")], *_lay_out_text(pair.prompt)]
    for name, text, n_tokens, is_correct in sides:
        title: Line = [Cell(f"  {name}, {n_tokens} tokens", "dim")]
        lines += [title if is_correct is None else [*title, _MARKS[is_correct]], *_lay_out_text(text or "")]
    return lines


def _lay_out_text(text: str) -> list[Line]:
    """The text, its lines below one another, always indented: a foreign text cannot pass for a line of ours."""
    return [[Cell("    "), Cell(line)] for line in make_visible(text.strip(), keep_newlines=True).split("\n")]
