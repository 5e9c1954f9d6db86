"""What the files of a configuration hold, in words: examples, prompts of each iteration, items that prompts ask too.

Pure. Knows the engine's report. Must not know whether a command or a screen shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cream_tui.units import format_count

if TYPE_CHECKING:
    from engine.config.run import RunConfig
    from engine.tasks.check import DataReport, ShareReport


def read_data_report(config: RunConfig) -> DataReport:
    """What the files hold, with prompts counted in tokens where the model's tokenizer is on this machine.

    Raises:
        TaskError: A file is missing or broken, or holds too few prompts.
    """
    from engine.artifacts import find_base_folder
    from engine.config.shipped import find_configs_folder
    from engine.tasks.check import describe_data, load_token_counter

    model = config.model
    has_file = config.data.prompts.kind == "file"
    folder = find_base_folder(model.kind, model.path, model.revision, configs_folder=find_configs_folder())
    return describe_data(config, load_token_counter(folder) if has_file and folder is not None else None)


def list_data_facts(report: DataReport) -> list[tuple[str, str]]:
    """One line for each file that was read, by what it is for."""
    facts = [] if report.n_examples is None else [("sft", f"{format_count(report.n_examples)} examples")]
    facts += [(f"prompts t={share.iteration}", _describe_share(share)) for share in report.shares]
    for task, n_items, n_asked in report.contamination:
        asked = f"{format_count(n_asked)} of them asked in training" if n_asked else "none asked in training"
        facts.append((task, f"{format_count(n_items)} items, {asked}"))
    return facts


def _describe_share(share: ShareReport) -> str:
    parts = [f"{format_count(share.n_prompts)} of {format_count(share.n_read)} rows"]
    if share.n_repeated:
        parts.append(f"{format_count(share.n_repeated)} repeated")
    if share.n_conflicting:
        parts.append(f"{format_count(share.n_conflicting)} with another answer")
    if share.n_too_long:
        parts.append(f"{format_count(share.n_too_long)} longer than data.max_prompt_tokens")
    return ", ".join(parts)
