"""How Typer's help is laid out, and completion of names.

Knows Typer's classes. Must not know commands. Typer's rich boxes cost 0.13 s at every `--help`; whitespace is free.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from engine.errors import find_nearest

_SECTIONS = ("Run", "Look", "Mark", "Machine")
_SUBGROUP_SECTION = "Machine"
_OPEN = "open"


class _AsGiven:
    """Takes a text, a list of texts or a flag as it came."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value; a repeatable option that was not given is an empty list."""
        return list(value) if isinstance(value, (list, tuple)) else value


def _take_as_given(params: list[Any]) -> list[Any]:
    """The parameters, text and flags among them without a validator: Typer's own imports pydantic, half of `ls`."""
    for param in params:
        descriptor = getattr(param, "type_descriptor", None)
        if descriptor is not None and descriptor.annotation in (str, bool, list[str]):
            param._runtime_param = _AsGiven()
    return params


class CreamCommand(TyperCommand):
    """A command that starts fast."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Arguments and options."""
        return _take_as_given(super().get_params(ctx))


class CreamGroup(TyperGroup):
    """A group that lists its commands by section and names the nearest of an unknown one."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Options of the group itself."""
        return _take_as_given(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the table."""
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first argument names; on the top, any other word is something to open in the app."""
        if args and args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            if _OPEN in self.commands:
                return super().resolve_command(ctx, [_OPEN, *args])
            nearest = find_nearest(args[0], self.commands)
            guess = f"; did you mean {nearest}?" if nearest else ""
            ctx.fail(f"no command {args[0]}{guess}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """One list for each section."""
        by_section: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.commands[name]
            if command.hidden:
                continue
            section = getattr(command, "rich_help_panel", None)
            section = section if isinstance(section, str) else _SUBGROUP_SECTION
            by_section.setdefault(section, []).append((name, command.get_short_help_str(limit=78)))
        width = max(map(len, self.commands))
        by_section = {title: [(name.ljust(width), text) for name, text in rows] for title, rows in by_section.items()}
        if len(by_section) == 1:
            by_section = {"Commands": next(iter(by_section.values()))}
        for section in sorted(by_section, key=lambda title: _SECTIONS.index(title) if title in _SECTIONS else 0):
            with formatter.section(section):
                formatter.write_dl(by_section[section], col_spacing=4)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The epilog as written, not indented."""
        if self.epilog:
            formatter.write_paragraph()
            formatter.write_text(self.epilog)


def complete_runs(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """Names of runs in the store, for the shell; silent where there is none."""
    from cream_tui.stores import list_run_names

    return list_run_names((ctx.params or {}).get("store"))


def complete_configs(incomplete: str) -> list[str]:
    """Names of shipped configurations."""
    from engine.config.shipped import list_shipped_runs

    return list_shipped_runs()


def complete_methods(incomplete: str) -> list[str]:
    """Names of shipped methods."""
    from engine.config.shipped import list_shipped_methods

    return list_shipped_methods()


def complete_sweeps(incomplete: str) -> list[str]:
    """Names of shipped studies."""
    from engine.config.shipped import list_shipped

    return list(list_shipped("sweeps"))
