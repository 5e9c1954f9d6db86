"""What an evaluation's own files hold, read before anything is computed.

Reads files; what the ``datasets`` library or lm_eval loads, only the stages load. Main path: ``read_evaluation_files``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from engine.config.data import SourceConfig
from engine.config.evaluation import EvaluationConfig, TaskSource
from engine.errors import BackendError, ConfigError
from engine.records import Prompt
from engine.tasks.benchmarks import parse_items
from engine.tasks.preferences import parse_preferences
from engine.tasks.sources import read_source_rows


def read_evaluation_files(evaluation: EvaluationConfig) -> dict[str, list[Prompt]]:
    """Return the items of each task that lies in a file, after every check that needs no network.

    Raises:
        TaskError: a file is missing, empty or broken; names file and row.
        BackendError: a task needs lm_eval, which is not installed.
        ConfigError: ``lm_eval_tasks`` is no folder.
    """
    _check_lm_eval(evaluation)
    for _, rows in _list_files(evaluation.preference_sources):
        parse_preferences(read_source_rows(rows, "evaluation.preference_sets"))
    return {
        name: parse_items(read_source_rows(rows, "evaluation.tasks"))[: evaluation.items]
        for name, rows in _list_files(evaluation.sources)
    }


def _list_files(sources: Sequence[TaskSource]) -> list[tuple[str, SourceConfig]]:
    return [(task.name, task.rows) for task in sources if task.rows is not None and task.rows.kind == "file"]


def _check_lm_eval(evaluation: EvaluationConfig) -> None:
    task = next((source.name for source in evaluation.sources if source.rows is None), None)
    if task is None:
        return
    if importlib.util.find_spec("lm_eval") is None:
        raise BackendError(
            f"evaluation.tasks: {task} needs lm_eval, which is not installed",
            hint="pip install 'cream-tui[lm-eval]'",
        )
    folder = evaluation.lm_eval_tasks
    if folder is not None and not Path(folder).is_dir():
        raise ConfigError(
            f"evaluation.lm_eval_tasks: {folder} is no folder", key="evaluation.lm_eval_tasks", value=folder
        )
