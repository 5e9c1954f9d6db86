"""Experiments from Python: start runs, wait for them, read what they left as data frames.

The same store as the command line and the app, and the same checks. Light: torch stays in the run's own processes, and
pandas is imported with the first frame. Every refusal is a CreamError with one message and a way out. Documented in
docs/api.md.
"""

from __future__ import annotations

import html
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cream_tui import output
from cream_tui.diagnostics import UsageProblem
from cream_tui.text import make_visible
from cream_tui.units import format_percent
from db.errors import StoreError
from db.paths import StorePaths, find_store_root
from db.rows import RunRow
from engine.errors import CreamError, ExitCode, find_nearest

if TYPE_CHECKING:
    import sqlite3

    import pandas

    from cream_tui.readers.snapshots import RunSnapshot
    from cream_tui.results import ModelResult

__all__ = ["CreamError", "Run", "compare", "find_run", "runs", "start"]

StorePath = str | Path | None
Overrides = Mapping[str, object] | Sequence[str]
_POLL_S = 0.25


def start(
    config: str | Path,
    *,
    method: str | None = None,
    seed: int | None = None,
    name: str | None = None,
    overrides: Overrides = (),
    tags: Sequence[str] = (),
    store: StorePath = None,
) -> Run:
    """Start a run in the background and return it at once.

    Args:
        config: A YAML file, or a shipped name such as sandbox.
        overrides: Settings by dotted key, as ``{"training.beta": 0.5}``, or as the command line takes them.
        store: Its folder; else $CREAM_STORE, else .cream here.

    Raises:
        CreamError: Something the configuration names is unknown, missing or unusable.
    """
    with _cream_errors():
        from engine.config.load import check_files, load_run_config
        from engine.runtime.control import start_run

        loaded = load_run_config(str(config), overrides=_list_overrides(overrides), method=method, seed=seed, name=name)
        check_files(loaded)
        root = find_store_root(store)
        return Run(root, start_run(root, loaded, tags=tags).run_id)


def find_run(reference: str, *, store: StorePath = None) -> Run:
    """The run with this name or id, the start of one, or the latest."""
    with _cream_errors(), _open(find_store_root(store)) as connection:
        from db.queries import find_run as find_row

        return Run(find_store_root(store), find_row(connection, reference).run_id)


def runs(*, store: StorePath = None) -> pandas.DataFrame:
    """All runs of the store, the newest last."""
    with _cream_errors(), _open(find_store_root(store)) as connection:
        from cream_tui.frames import build_frame
        from db.exports import EXPORT_COLUMNS, iterate_export
        from db.queries import read_runs

        return build_frame(EXPORT_COLUMNS["runs"], iterate_export(connection, "runs", read_runs(connection)))


def compare(*compared: Run | str, store: StorePath = None) -> pandas.DataFrame:
    """Models of several runs, one row each, with an exact paired test against the first run's model of the same name.

    ``difference`` is in accuracy on the items that both answered; ``p_value`` is McNemar's, not corrected for how many
    rows there are. Both are NA for the first run and where no items are shared.
    """
    found = [run if isinstance(run, Run) else find_run(run, store=store) for run in compared]
    if len({run.run_id for run in found}) < 2:
        raise CreamError("compare takes two different runs or more", hint="api.runs() lists them")
    from cream_tui.frames import build_frame
    from cream_tui.results import compute_paired_test

    baseline = {model.name: model for model in found[0]._read_results()}
    rows = []
    for k, run in enumerate(found):
        for model in run._read_results():
            if model.accuracy is None or model.interval is None:
                continue
            other = baseline.get(model.name) if k else None
            test = None if other is None else compute_paired_test(model, other)
            difference = None if test is None else test.first_accuracy - test.second_accuracy
            p_value = None if test is None else test.p_value
            rows.append((run.name, model.name, model.accuracy, *model.interval, len(model.items), difference, p_value))
    columns = ("run", "model", "accuracy", "accuracy_low", "accuracy_high", "n_items", "difference", "p_value")
    kinds = dict.fromkeys(columns[2:], "number") | {"n_items": "integer"}
    return build_frame(columns, rows, kinds)  # type: ignore[arg-type]


class Run:
    """A run of a store, as it is whenever it is asked."""

    def __init__(self, root: Path, run_id: str) -> None:
        self.root = root
        self.run_id = run_id

    @property
    def name(self) -> str:
        """What it is called."""
        return self._read_row().name

    @property
    def state(self) -> str:
        """queued, running, done, failed or stopped; stale where its process is gone."""
        return self._read_snapshot().state

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return self._read_row().error

    @property
    def config(self) -> dict[str, Any]:
        """Its whole configuration."""
        config: dict[str, Any] = json.loads(self._read_row().config_json)
        return config

    def wait(self, *, progress: bool = True, timeout_s: float | None = None) -> Run:
        """Wait until it is over and return it; interrupting the wait leaves the run alone.

        Args:
            progress: Whether to print a line for each stage and model.
            timeout_s: After which to give up waiting.

        Raises:
            CreamError: It failed, its process is gone, or the time is up.
        """
        from cream_tui.progress import list_events
        from cream_tui.readers.health_reader import HealthReader

        reader, told = HealthReader(self.run_id), set[tuple[str, ...]]()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with _cream_errors(), _open(self.root) as connection:
            while True:
                found = reader.read(connection)
                snapshot = found.snapshot
                for key, text in list_events(snapshot, found.warnings) if progress else ():
                    if key not in told:
                        told.add(key)
                        output.print_text(text)
                output.flush()
                if snapshot.is_over or snapshot.stale:
                    break
                if deadline is not None and time.monotonic() > deadline:
                    raise CreamError(f"{snapshot.run.name} is not over after {timeout_s:g} s", hint="it goes on")
                time.sleep(_POLL_S)
        self._raise_end(snapshot)
        return self

    def frame(self, what: str = "pairs") -> pandas.DataFrame:
        """A table of the run: pairs, responses, rewards, consistency, metrics, evaluations or verdicts."""
        from cream_tui.frames import build_frame
        from db.exports import EXPORT_COLUMNS, iterate_export

        tables = [name for name in EXPORT_COLUMNS if name != "runs"]
        if what not in tables:
            raise _unknown("table", what, tables)
        with _cream_errors(), _open(self.root) as connection:
            return build_frame(EXPORT_COLUMNS[what], iterate_export(connection, what, self._read_row()))

    def metrics(self, *names: str) -> pandas.DataFrame:
        """The values of these metrics step by step; of all metrics where none is named."""
        frame = self.frame("metrics")
        known = sorted(set(frame["name"]))
        for name in names:
            if name not in known:
                raise _unknown("metric", name, known)
        return frame[frame["name"].isin(names)].reset_index(drop=True) if names else frame

    def results(self) -> pandas.DataFrame:
        """One row for each model: accuracy with its 95 % interval, by task, and the measures of its iteration."""
        from cream_tui.frames import build_frame

        models = self._read_results()
        measures = list(dict.fromkeys(name for model in models for name in sorted(model.measures)))
        tasks = list(dict.fromkeys(task.task for model in models for task in model.tasks))
        columns = ["model", "accuracy", "accuracy_low", "accuracy_high", *(f"accuracy_{task}" for task in tasks)]
        rows = []
        for model in models:
            by_task = {task.task: task.accuracy for task in model.tasks}
            numbers = [model.accuracy, *(model.interval or (None, None)), *map(by_task.get, tasks)]
            rows.append([model.name, *numbers, *map(model.get, measures)])
        return build_frame([*columns, *measures], rows, dict.fromkeys([*columns[1:], *measures], "number"))

    def models(self) -> dict[str, Path]:
        """The folders of the models that there are, by name; ``from_pretrained`` loads one."""
        from db.queries import read_run_checkpoints

        with _cream_errors(), _open(self.root) as connection:
            found = read_run_checkpoints(connection, self.run_id, self.root)
        return {checkpoint.name: Path(checkpoint.folder) for checkpoint in found}

    def model_folder(self, name: str) -> Path:
        """The folder of one model, as M2."""
        models = self.models()
        if name not in models:
            raise _unknown("model", name, list(models))
        return models[name]

    def stop(self) -> Run:
        """Stop it; nothing that was written is lost."""
        with _cream_errors():
            from engine.runtime.control import stop_run

            stop_run(self.root, self._read_row())
        return self

    def resume(self) -> Run:
        """Go on with it where it stopped, failed or lost its process."""
        with _cream_errors():
            from engine.runtime.control import resume_run

            resume_run(self.root, self._read_row())
        return self

    def fork(
        self,
        at: str,
        *,
        overrides: Overrides = (),
        method: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
        use_verdicts: bool = False,
    ) -> Run:
        """Start a run that shares everything up to model ``at``, as M2, and has other settings from there on."""
        with _cream_errors():
            from engine.runtime.control import fork_run

            forked = fork_run(
                self.root,
                self._read_row(),
                at=at,
                overrides=_list_overrides(overrides),
                method=method,
                seed=seed,
                name=name,
                tags=tags,
                use_verdicts=use_verdicts,
            )
            return Run(self.root, forked.run_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and (self.root, self.run_id) == (other.root, other.run_id)

    def __hash__(self) -> int:
        return hash((self.root, self.run_id))

    def __repr__(self) -> str:
        snapshot = self._read_snapshot()
        run = snapshot.run
        models = ", ".join(
            f"{model.name} {format_percent(model.accuracy)} %" for model in snapshot.results if model.tasks
        )
        facts = f"{run.name} ({run.run_id}): {snapshot.state}, {run.method}, seed {run.seed}"
        return make_visible(f"<Run {facts}{'; ' if models else ''}{models}>")

    def _repr_html_(self) -> str:
        snapshot = self._read_snapshot()
        run = snapshot.run
        head = f"<b>{_show(run.name)}</b> {_show(run.run_id)}: {snapshot.state}, {_show(run.method)}, seed {run.seed}"
        rows = "".join(
            f"<tr><th>{model.name}</th><td>{format_percent(model.accuracy)} %</td></tr>"
            for model in snapshot.results
            if model.tasks
        )
        return f"<div>{head}<table>{rows}</table></div>"

    def _read_row(self) -> RunRow:
        from db.queries import find_run as find_row

        with _cream_errors(), _open(self.root) as connection:
            return find_row(connection, self.run_id)

    def _read_snapshot(self) -> RunSnapshot:
        from cream_tui.readers.snapshots import read_snapshot

        with _cream_errors(), _open(self.root) as connection:
            return read_snapshot(connection, self.run_id)

    def _read_results(self) -> list[ModelResult]:
        from cream_tui.results import read_results

        with _cream_errors(), _open(self.root) as connection:
            return read_results(connection, self.run_id)

    def _raise_end(self, snapshot: RunSnapshot) -> None:
        run = snapshot.run
        if snapshot.stale:
            raise CreamError(f"{run.name}: its process is gone; nothing that was written is lost", hint="run.resume()")
        if run.state == "failed":
            folder = StorePaths(self.root).run_folder(run.run_id)
            error = CreamError(f"{run.name}: {run.error or 'failed'}", hint=f"its logs: {folder}; then run.resume()")
            error.exit_code = ExitCode.UNEXPECTED if run.exit_code is None else ExitCode(run.exit_code)
            raise error


def _list_overrides(overrides: Overrides) -> list[str]:
    if not isinstance(overrides, Mapping):
        return list(overrides)
    return [f"{key}={json.dumps(value, default=str)}" for key, value in overrides.items()]


def _unknown(what: str, name: str, known: Sequence[str]) -> CreamError:
    nearest = find_nearest(name, known)
    return CreamError(
        f"no {what} {name!r}" + (f"; did you mean {nearest}?" if nearest else ""), hint=f"there are {', '.join(known)}"
    )


def _show(text: str) -> str:
    return html.escape(make_visible(text))


@contextmanager
def _open(root: Path) -> Iterator[sqlite3.Connection]:
    from db.reading import open_reader

    with closing(open_reader(root)) as connection:
        yield connection


@contextmanager
def _cream_errors() -> Iterator[None]:
    """Every refusal as a CreamError: those of the store and of the commands' readers too."""
    try:
        yield
    except (StoreError, UsageProblem) as error:
        raise CreamError(error.message, hint=error.hint) from error
