"""`config show|check|schema`: configuration files, without running anything."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from cream_tui import output
from cream_tui.output import Cell, Column
from cream_tui.views.data_counts import list_data_facts, read_data_report
from cream_tui.views.launch_yaml import encode_yaml
from engine.config.load import (
    check_files,
    compute_config_digest,
    dump,
    find_config,
    load_run_config,
)
from engine.config.load import (
    schema as build_schema,
)
from engine.config.run import RunConfig
from engine.config.shipped import list_shipped, read_purpose
from engine.config.yaml_loader import load_mapping
from engine.errors import ExitCode

_LEAST_COMMENT_WIDTH = 30


def show(config: str | None, overrides: tuple[str, ...], method: str | None, *, as_json: bool) -> int:
    """Print a configuration in full, or the names of the shipped ones."""
    if config is None:
        _show_shipped(as_json=as_json)
        return ExitCode.DONE
    content = dump(load_run_config(config, overrides=overrides, method=method))
    if as_json:
        output.print_json(content)
    else:
        output.print_raw(encode_yaml(content))
    return ExitCode.DONE


def check(config: str, overrides: tuple[str, ...], method: str | None, *, as_json: bool) -> int:
    """Say that a configuration is sound, or raise what is wrong with it."""
    from engine.runtime.intent import check_config

    loaded = load_run_config(config, overrides=overrides, method=method)
    check_files(loaded)
    check_config(loaded)
    report = read_data_report(loaded)
    if as_json:
        found = {"name": loaded.name, "file": str(find_config(config)), "digest": compute_config_digest(loaded)}
        output.print_json(found | {"data": asdict(report)})
    else:
        output.print_text(f"{loaded.name} is sound: {_describe(loaded)}")
        output.print_facts(list_data_facts(report), indent=2)
    return ExitCode.DONE


def schema() -> int:
    """Print the JSON schema."""
    output.print_json(build_schema())
    return ExitCode.DONE


def _describe(config: RunConfig) -> str:
    models = f"M1 to M{config.iterations + 1}" if config.iterations else "M1"
    return (
        f"{config.method.name}, {models}, {config.data.prompts_per_iteration} prompts of {config.sampling.n} responses "
        "per iteration"
    )


def _show_shipped(*, as_json: bool) -> None:
    runs = {name: _read_comment(path) for name, path in list_shipped("runs").items()}
    methods = {name: _read_comment(path) for name, path in list_shipped("methods").items()}
    studies = {name: _read_comment(path) for name, path in list_shipped("sweeps").items()}
    if as_json:
        output.print_json({"runs": runs, "methods": methods, "studies": studies})
        return
    for title, found in (("run", runs), ("method", methods), ("study", studies)):
        output.print_table((Column(title), Column("")), _wrap_comments(found))
        output.print_text()


def _wrap_comments(found: Mapping[str, str]) -> Iterator[tuple[Cell, str]]:
    """Names with what they are, in as many lines as the terminal needs."""
    names = max(map(len, found), default=0) + 2
    width = max(_LEAST_COMMENT_WIDTH, (output.find_width() or sys.maxsize) - names)
    for name, comment in found.items():
        for k, line in enumerate(textwrap.wrap(comment, width, break_on_hyphens=False) or [""]):
            yield Cell(name if k == 0 else "", "bold"), line


def _read_comment(path: Any) -> str:
    """What a file is; it must be sound."""
    load_mapping(path)
    return read_purpose(path)
