"""`run --dry-run`, `fork --dry-run`: what a run would do, as a table or JSON. Starts nothing.

Knows the engine's preview. Must not know how a run is started.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cream_tui import diagnostics, output
from cream_tui.commands.run import BaseConfig, Changes, load_config
from cream_tui.output import Cell, Column
from cream_tui.stores import open_run_reader
from cream_tui.styles import STAGE_STYLES
from cream_tui.units import MISSING, format_duration
from cream_tui.views.data_counts import list_data_facts, read_data_report
from cream_tui.views.preview import describe_headline, describe_status, list_facts
from db.paths import find_store_root
from engine.errors import ExitCode

if TYPE_CHECKING:
    from engine.runtime.preview import RunPreview, StagePreview
    from engine.tasks.check import DataReport

_COLUMNS = (Column("stage"), Column("state", is_flexible=True), Column("about", "right"))
_STATUS_STYLES = {"reused": "reused", "shared": "waiting", "begun": "running"}


def preview_run(
    store: str | None, base: BaseConfig, changes: Changes, *, is_dry: bool, is_reusing: bool, as_json: bool
) -> int:
    """Print what `run` would do."""
    _require_dry(is_dry)
    loaded = load_config(store, base, changes)
    from engine.runtime.intent import check_config
    from engine.runtime.preview import preview_run

    check_config(loaded)
    preview = preview_run(find_store_root(store), loaded, reuse=is_reusing)
    show_preview(preview, read_data_report(loaded), as_json=as_json)
    return ExitCode.DONE


def preview_fork(
    store: str | None, run: str, at: str, changes: Changes, *, is_dry: bool, uses_verdicts: bool, as_json: bool
) -> int:
    """Print what `fork` would do."""
    _require_dry(is_dry)
    from db.queries import find_run
    from engine.runtime.intent import prepare_fork
    from engine.runtime.preview import preview_fork

    with open_run_reader(store) as (root, connection):
        found = find_run(connection, run)
    config, lineage = prepare_fork(
        root,
        found,
        at=at,
        overrides=changes.overrides,
        method=changes.method,
        seed=changes.seed,
        name=changes.name,
        use_verdicts=uses_verdicts,
    )
    show_preview(preview_fork(root, found, config, lineage), read_data_report(config), as_json=as_json)
    return ExitCode.DONE


def show_preview(preview: RunPreview, report: DataReport, *, as_json: bool) -> None:
    """Print a preview and what the data files hold."""
    if as_json:
        output.print_json(build_record(preview) | {"data": asdict(report)})
        return
    output.print_text(describe_headline(preview), "bold")
    output.print_text()
    output.print_table(_COLUMNS, [_build_row(stage) for stage in preview.stages])
    output.print_text()
    sampler = ("sampler", f"{preview.backend}: {preview.backend_reason}")
    output.print_facts([*list_facts(preview), sampler, *list_data_facts(report)])
    diagnostics.narrate("nothing was started")


def build_record(preview: RunPreview) -> dict[str, Any]:
    """The JSON of a preview."""
    names = ("name", "method", "seed", "iterations", "base_folder", "n_prompts", "n_responses", "max_tokens")
    sizes = ("n_models", "checkpoint_bytes", "snapshot_bytes", "free_bytes", "backend", "backend_reason", "seconds")
    stages = [
        {field: getattr(stage, field) for field in ("label", "name", "iteration", "status", "run", "seconds")}
        for stage in preview.stages
    ]
    memory = {
        "memory_bytes": preview.memory and preview.memory.total,
        "memory_stage": preview.memory and preview.memory.name,
    }
    return {name: getattr(preview, name) for name in (*names, *sizes)} | memory | {"stages": stages}


def _require_dry(is_dry: bool) -> None:
    if not is_dry:
        raise diagnostics.UsageProblem("--json goes with --dry-run", "A run that is started prints itself.")


def _build_row(stage: StagePreview) -> tuple[str, Cell, str]:
    style = STAGE_STYLES.get(_STATUS_STYLES.get(stage.status, ""), "")
    about = MISSING if stage.seconds is None or stage.status == "reused" else format_duration(stage.seconds)
    return stage.label, Cell(describe_status(stage), style), about
