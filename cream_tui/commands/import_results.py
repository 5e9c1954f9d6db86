"""`import`: results of other programs as a run of the store."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from cream_tui import diagnostics, output
from cream_tui.stores import format_command
from cream_tui.units import format_count
from db.paths import find_store_root
from engine.errors import ExitCode


@dataclass(frozen=True, slots=True)
class Wish:
    """What the run is called, what its model is called, which iteration it is of, its tags."""

    name: str | None = None
    model: str | None = None
    iteration: int | None = None
    tags: tuple[str, ...] = ()


def import_results(store: str | None, files: tuple[str, ...], wish: Wish, *, as_json: bool) -> int:
    """Write the files' rows as one run, or name the run that has them."""
    from engine.runtime.imports import import_results

    paths = [Path(name).expanduser() for name in files]
    done = import_results(find_store_root(store), paths, **asdict(wish))
    run = done.run
    if as_json:
        counts = {name: getattr(done, name) for name in ("n_prompts", "n_responses", "n_pairs", "n_repeated")}
        output.print_json({"run_id": run.run_id, "name": run.name, "is_new": done.is_new} | counts)
        return ExitCode.DONE
    if not done.is_new:
        diagnostics.narrate(f"{run.name} ({run.run_id}) holds these files already")
        return ExitCode.DONE
    diagnostics.narrate(
        f"{run.name} ({run.run_id}): {format_count(done.n_prompts)} prompts, {format_count(done.n_responses)} "
        f"responses, {format_count(done.n_pairs)} pairs"
    )
    if done.n_repeated:
        diagnostics.warn(f"{format_count(done.n_repeated)} rows ask what an earlier row asks and were left out")
    diagnostics.narrate(f"read them: {format_command(f'pairs {run.run_id}', store)}")
    return ExitCode.DONE
