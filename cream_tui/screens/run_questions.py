"""What the Run screen asks before it acts: stop, resume, fork, which metric; and its points as a table.

Knows the app's services and dialogs. Must not know the screen: each function gets what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cream_tui.readers.run_reader import RunData
from cream_tui.readers.snapshots import RunSnapshot
from cream_tui.screens.base import Table
from cream_tui.screens.dialogs import Choose, Confirm
from cream_tui.screens.help import AlertsScreen
from cream_tui.shell.notices import Alert, tell_warning
from cream_tui.targets import LaunchTarget, RunTarget
from cream_tui.views.panels import DrawnLine, Panel, name_metric, name_point
from cream_tui.views.run_alerts import RunAlert
from db.rows import RunCheckpoint, RunRow
from db.run_series import SeriesInfo

if TYPE_CHECKING:
    from cream_tui.app import CreamApp


def ask_stop(app: CreamApp, snapshot: RunSnapshot) -> None:
    """Stop the run if it goes on and the person says so."""
    run = snapshot.run
    if snapshot.is_over or snapshot.stale:
        app.tell(f"{run.name} does not run: it is {snapshot.state}")
        return

    def stop(is_sure: bool | None) -> None:
        if is_sure:
            app.perform(["stop", run.run_id], doing=f"stopping {run.name}", done=f"{run.name} is stopped")

    app.push_screen(Confirm(f"Stop {run.name}?", "Everything computed so far stays; R goes on from there."), stop)


def resume(app: CreamApp, snapshot: RunSnapshot) -> None:
    """Go on with a run that was stopped, failed or lost its process."""
    run = snapshot.run
    if run.state == "done":
        app.tell(f"{run.name} is done; F forks from one of its models")
    elif not snapshot.is_over and not snapshot.stale:
        app.tell(f"{run.name} goes on already")
    else:
        app.perform(["resume", run.run_id, "--detach"], doing=f"resuming {run.name}", done=f"{run.name} goes on")


def ask_fork(app: CreamApp, snapshot: RunSnapshot, models: Sequence[RunCheckpoint], model: str | None = None) -> None:
    """Open the form of a run that goes on from one of these models, the one that is named or chosen."""
    run_id = snapshot.run.run_id

    def fork(name: str | None) -> None:
        if name is not None:
            app.go_to(LaunchTarget(source_run_id=run_id, fork_at=name))

    # A fork shares everything up to its model: M0 has nothing to share.
    names = [found.name for found in models if found.name != "M0"]
    if not names:
        app.tell("there is no model yet to fork from")
    elif model in names:
        fork(model)
    else:
        choices = [(name, f"{name}: train on from it with other settings") for name in reversed(names)]
        app.push_screen(Choose(f"Fork {snapshot.run.name} at which model?", choices), fork)


def ask_metric(
    app: CreamApp,
    panels: Sequence[Panel],
    series: Sequence[SeriesInfo],
    picked: Sequence[str],
    then: Callable[[str], None],
) -> None:
    """Choose a chart that there is, or any other metric of the run; ``then`` gets its key."""
    choices = [(panel.key, f"{panel.title}  (chart)") for panel in panels if panel.key not in picked]
    choices += [(key, f"{describe_metric(key)}  take this chart away") for key in picked]
    choices += [(key, describe_metric(key)) for key in list_other_metrics(panels, series)]

    def take(key: str | None) -> None:
        if key is not None:
            then(key)

    app.push_screen(Choose("Show which metric?", choices), take)


def show_alerts(app: CreamApp, run: RunRow, alerts: Sequence[RunAlert], open_log: Callable[[], None]) -> None:
    """What to look at in this run, then what happened elsewhere; enter goes there, for an error of the run to its log.

    A warning of the run that was told when it came up is in the inbox, too: it stands here once.
    """
    own = [Alert("", alert.text, alert.severity, alert.target) for alert in alerts]
    told = {tell_warning(run.name, alert) for alert in alerts}
    app.n_new_alerts = 0

    def follow(alert: Alert | None) -> None:
        if alert is None or alert.target is None:
            return
        if alert.severity == "error" and alert.target == RunTarget(run.run_id):
            open_log()
        else:
            app.go_to(alert.target)

    app.push_screen(AlertsScreen((*own, *(alert for alert in app.alerts if alert.text not in told))), follow)


def tabulate(data: RunData, panel: Panel, drawn: Sequence[DrawnLine], axis: str) -> Table | None:
    """The points of a chart as rows to export; None where it has none."""
    rows = [
        (
            line.line.stage,
            line.line.metric,
            int(line.points.iteration[k]),
            int(line.points.step[k]),
            name_point(line, k, data.timeline),
            float(line.xs[k]),
            float(line.points.value[k]),
            None if line.low is None else float(line.low[k]),
            None if line.high is None else float(line.high[k]),
            float(line.points.at[k]),
        )
        for line in drawn
        for k in range(len(line.points))
    ]
    columns = ("stage", "metric", "iteration", "step", "place", f"x_{axis}", "value", "low", "high", "at")
    return Table(f"{data.snapshot.run.name}-{panel.key.replace(':', '-')}", columns, rows) if rows else None


def list_other_metrics(panels: Sequence[Panel], series: Sequence[SeriesInfo]) -> list[str]:
    """Keys of the metrics that no panel shows."""
    charted = {key for panel in panels for key in panel.needed}
    return [name_metric(*key) for key in sorted({(info.stage, info.name) for info in series} - charted)]


def describe_metric(key: str) -> str:
    """A metric as a person reads it."""
    stage, _, metric = key.partition(":")
    return f"{metric} ({stage})"
