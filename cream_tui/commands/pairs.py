"""`pairs`: the preference pairs of a run, to read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cream_tui import diagnostics, output
from cream_tui.filtering.pairs import compile_pairs, find_column
from cream_tui.output import Cell, Line
from cream_tui.result_table import STAND_IN_ITERATION, STAND_IN_LEGEND
from cream_tui.stores import open_run_reader
from cream_tui.text import make_visible
from cream_tui.units import format_number, format_signed, format_tokens
from cream_tui.views.pairs import Numbers
from db.pair_browse import PAIR_SORTS, PairQuery, PairView, read_pair_ids, read_pair_rows
from db.queries import find_run
from engine.errors import ExitCode, find_nearest

# What a reader calls an order beside the keys of a filter, and what the store calls it.
SORTS = {
    "iteration": "position",
    "consistency": "consistency",
    "margin": "margin",
    "confidence": "confidence",
    "length": "length_difference",
}
_ROW_IDS = frozenset({"pair_id", "stage_id"})
_MARKS = {True: Cell(", right", "green"), False: Cell(", wrong", "red")}


@dataclass(frozen=True, slots=True)
class Wish:
    """Which pairs, in which order."""

    sort: str
    filter_text: str = ""
    is_descending: bool = False
    limit: int = 0
    iteration: int | None = None
    is_wrong_only: bool = False


def pairs(store: str | None, run: str, wish: Wish, *, as_json: bool) -> int:
    """Print the pairs."""
    sort = SORTS.get(wish.sort) or find_column(wish.sort)
    if sort not in PAIR_SORTS:
        names = list(dict.fromkeys([*SORTS, *PAIR_SORTS]))
        nearest = find_nearest(wish.sort, names)
        raise diagnostics.UsageProblem(
            f"--sort {wish.sort}: there is no such order" + (f"; did you mean {nearest}?" if nearest else ""),
            f"There are {', '.join(names)}.",
        )
    if wish.limit < 0:
        raise diagnostics.UsageProblem(f"--limit {wish.limit}: is below 0", "0 shows all.")
    chosen = compile_pairs(wish.filter_text)
    wrong = compile_pairs("label:wrong" if wish.is_wrong_only else "")
    with open_run_reader(store) as (_, connection):
        found = find_run(connection, run)
        query = PairQuery(
            where=" AND ".join(part.where for part in (chosen, wrong) if part.where),
            parameters=chosen.parameters + wrong.parameters,
            sort=sort,
            is_descending=wish.is_descending,
            iteration=wish.iteration,
            with_skipped=chosen.asks_for_skipped,
        )
        ids = read_pair_ids(connection, found.run_id, query, limit=wish.limit or None)
        shown = read_pair_rows(connection, found.run_id, ids)
        numbers = Numbers(read_pair_ids(connection, found.run_id, PairQuery()))
    if as_json:
        output.print_json([_describe(pair, numbers.get(pair.pair_id)) for pair in shown])
    else:
        _print(shown, numbers)
        if not shown:
            diagnostics.narrate(f"{found.name}: no such pairs")
    return ExitCode.DONE


def _describe(pair: PairView, number: int | None) -> dict[str, Any]:
    """Number and fields of a pair but its row ids, which equal runs do not share."""
    return {"number": number} | {
        name: value for name, value in dataclasses.asdict(pair).items() if name not in _ROW_IDS
    }


def _print(pairs: Sequence[PairView], numbers: Numbers) -> None:
    for pair in pairs:
        output.print_lines([*_lay_out(pair, numbers.get(pair.pair_id)), []])
    if any(map(_has_stand_in, pairs)):
        output.print_paragraph(STAND_IN_LEGEND, "dim")


def _has_stand_in(pair: PairView) -> bool:
    return pair.iteration == STAND_IN_ITERATION and pair.tau_previous is not None


def _lay_out(pair: PairView, number: int | None) -> list[Line]:
    facts = [
        ("margin", format_number(pair.margin)),
        ("tau", format_signed(pair.tau_previous) + ("*" if _has_stand_in(pair) else "")),
        ("anchor", format_signed(pair.tau_anchor)),
        ("consistency", format_number(pair.consistency_rate)),
        ("C", format_number(pair.confidence)),
    ]
    place = "" if number is None else f"#{number}  "
    head: Line = [Cell(f"{place}t={pair.iteration}", "bold"), Cell(f"  {make_visible(pair.prompt_id)}", "dim")]
    for name, value in facts:
        head += [Cell(f"  {name} ", "dim"), Cell(value)]
    if pair.skip_reason is not None:
        head += [Cell("  no pair: ", "dim"), Cell(make_visible(pair.skip_reason))]
        return [head, [Cell("  prompt", "dim")], *_lay_out_text(pair.prompt)]
    sides = (
        ("chosen", pair.chosen, pair.chosen_n_tokens, pair.chosen_correct),
        ("rejected", pair.rejected, pair.rejected_n_tokens, pair.rejected_correct),
    )
    lines = [head, [Cell("  prompt", "dim")], *_lay_out_text(pair.prompt)]
    for name, text, n_tokens, is_correct in sides:
        title: Line = [Cell(f"  {name}, {format_tokens(n_tokens)}", "dim")]
        lines += [title if is_correct is None else [*title, _MARKS[is_correct]], *_lay_out_text(text or "")]
    if pair.verdict is not None:
        lines.append([Cell("  your verdict ", "dim"), Cell(pair.verdict.replace("_", " "))])
    return lines


def _lay_out_text(text: str) -> list[Line]:
    """The text, its lines below one another, always indented: a foreign text cannot pass for a line of ours."""
    return [[Cell("    "), Cell(line)] for line in make_visible(text.strip(), keep_newlines=True).split("\n")]
