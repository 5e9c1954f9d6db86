"""`judge`: what a person says of a pair.

Knows annotations. Must not know what a verdict does: `fork --use-verdicts` does that.
"""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass

from cream_tui import diagnostics, output
from cream_tui.stores import format_command, open_run_reader
from cream_tui.views.pairs import Numbers
from db.annotations import delete_verdict, write_verdict
from db.errors import StoreError
from db.exports import format_time
from db.pair_browse import PairQuery, read_pair_ids, read_pair_rows
from db.queries import find_pairs, find_run, read_verdicts
from db.rows import VERDICTS, RunRow, VerdictRow
from engine.errors import ExitCode, find_nearest

_N_SHOWN = 5
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be said; None leaves it as it is."""

    verdict: str | None = None
    is_flagged: bool | None = None
    note: str | None = None


def judge(
    store: str | None,
    run: str,
    prompt: str,
    judgement: Judgement,
    *,
    iteration: int | None,
    is_cleared: bool,
    as_json: bool,
) -> int:
    """Write a verdict, a flag or a note, or forget them all."""
    if is_cleared and judgement != Judgement():
        raise diagnostics.UsageProblem("--clear goes alone", "Leave out the verdict, --flag and --note.")
    if not is_cleared and judgement == Judgement():
        raise diagnostics.UsageProblem(
            "there is nothing to write", f"Say one of {', '.join(VERDICTS)}, or --flag, --note TEXT, --clear."
        )
    verdict = None if judgement.verdict is None else _find_verdict(judgement.verdict)
    with open_run_reader(store) as (root, connection):
        found = find_run(connection, run)
        t, stage_id, prompt_id = _find_pair(connection, found, prompt, iteration, store)
        before = _read_verdict(connection, found, stage_id, prompt_id)
        if is_cleared:
            delete_verdict(root, stage_id, prompt_id)
        else:
            old = before or VerdictRow(stage_id, prompt_id, None, False, False, "", 0.0)
            write_verdict(
                root,
                stage_id,
                prompt_id,
                verdict=verdict or old.verdict,
                is_flagged=old.is_flagged if judgement.is_flagged is None else judgement.is_flagged,
                is_blind=old.is_blind and verdict is None,
                note=old.note if judgement.note is None else judgement.note,
            )
        after = _read_verdict(connection, found, stage_id, prompt_id)
    if as_json:
        said = None if after is None else asdict(after) | {"at": format_time(after.at)}
        output.print_json({"run_id": found.run_id, "iteration": t, "prompt_id": prompt_id, "said": said})
    else:
        was = "" if before is None else f" (was {_describe(before)})"
        diagnostics.narrate(f"{found.name} t={t} {prompt_id}: {_describe(after)}{was}")
    return ExitCode.DONE


def _find_verdict(word: str) -> str:
    verdict = word.replace("-", "_")
    if verdict in VERDICTS:
        return verdict
    nearest = find_nearest(verdict, VERDICTS)
    raise diagnostics.UsageProblem(
        f"{word}: there is no such verdict" + (f"; did you mean {nearest}?" if nearest else ""),
        f"There are {', '.join(VERDICTS)}.",
    )


def _find_pair(
    connection: sqlite3.Connection, run: RunRow, prompt: str, iteration: int | None, store: str | None
) -> tuple[int, int, str]:
    found = find_pairs(connection, run.run_id, prompt, iteration) if prompt else []
    found = found or _find_number(connection, run, prompt, iteration)
    if len(found) == 1:
        return found[0]
    prompt_ids = list(dict.fromkeys(prompt_id for _, _, prompt_id in found))
    if len(prompt_ids) > 1:
        shown = ", ".join(prompt_ids[:_N_SHOWN]) + (", ..." if len(prompt_ids) > _N_SHOWN else "")
        raise StoreError(
            f"{prompt!r} is the start of {len(prompt_ids)} prompts of {run.name}", hint=f"they are {shown}"
        )
    if found:
        iterations = " and ".join(str(t) for t, _, _ in found)
        raise StoreError(
            f"prompt {prompt_ids[0]} has pairs in iterations {iterations} of {run.name}",
            hint="say which with --iteration T",
        )
    where = "" if iteration is None else f" in iteration {iteration}"
    raise StoreError(
        f"{run.name} has no pair of a prompt {prompt!r}{where}",
        hint=f"`{format_command(f'pairs {run.run_id}', store)}` lists its pairs with their prompts' ids",
    )


def _find_number(
    connection: sqlite3.Connection, run: RunRow, text: str, iteration: int | None
) -> list[tuple[int, int, str]]:
    """The pair that the app and ``pairs`` give this number."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        return []
    pair_id = Numbers(read_pair_ids(connection, run.run_id, PairQuery())).find(int(text))
    rows = [] if pair_id is None else read_pair_rows(connection, run.run_id, [pair_id])
    return [(row.iteration, row.stage_id, row.prompt_id) for row in rows if iteration in (None, row.iteration)]


def _read_verdict(connection: sqlite3.Connection, run: RunRow, stage_id: int, prompt_id: str) -> VerdictRow | None:
    rows = read_verdicts(connection, run.run_id)
    return next((row for row in rows if (row.stage_id, row.prompt_id) == (stage_id, prompt_id)), None)


def _describe(row: VerdictRow | None) -> str:
    if row is None:
        return "nothing said"
    parts = [(row.verdict or "no verdict").replace("_", " ")]
    parts += ["blind"] if row.is_blind else []
    parts += ["flagged"] if row.is_flagged else []
    parts += [f"note: {row.note}"] if row.note else []
    return ", ".join(parts)
