"""`mirror`: a run's metrics in a tracker, now."""

from __future__ import annotations

from cream_tui import diagnostics, output
from cream_tui.engine_call import call_engine
from cream_tui.stores import open_run_reader
from db.queries import find_run
from engine.config.tracking import TRACKERS, check_trackers
from engine.errors import ExitCode, find_nearest


def mirror(store: str | None, run: str, tracker: str, *, as_json: bool) -> int:
    """Send what the tracker lacks and say where it is."""
    if tracker not in TRACKERS:
        nearest = find_nearest(tracker, TRACKERS)
        raise diagnostics.UsageProblem(
            f"--to {tracker}: there is no such tracker" + (f"; did you mean {nearest}?" if nearest else ""),
            f"There are {', '.join(TRACKERS)}.",
        )
    check_trackers([tracker], "--to")
    with open_run_reader(store) as (root, connection):
        found = find_run(connection, run)
    if found.state == "running":
        diagnostics.narrate(f"{found.name} goes on; its metrics follow it to {tracker} until it is over")
    outcome = call_engine("engine.runtime.mirror", str(root), found.run_id, tracker)
    if as_json:
        output.print_json({"run_id": found.run_id, "tracker": tracker, **outcome})
    else:
        diagnostics.narrate(f"{found.name}: {outcome['n_points']:,} new points in {tracker}")
        output.print_text(str(outcome["place"]))
    return ExitCode.DONE
