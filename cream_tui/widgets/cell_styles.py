"""What the style names of cells look like, the same in every table and pane of cells.

Knows theme variables. Must not know widgets but by their names.
"""

from __future__ import annotations

NAMES = ("dim", "bold", "group", "accent", "live", "good", "warn", "bad")
_RULES = """
    {widget} > .{prefix}--dim {{ color: $foreground 60%; }}
    {widget} > .{prefix}--bold {{ text-style: bold; }}
    {widget} > .{prefix}--group {{ color: $secondary; text-style: bold; }}
    {widget} > .{prefix}--accent {{ color: $primary; text-style: bold; }}
    {widget} > .{prefix}--live {{ color: $secondary; }}
    {widget} > .{prefix}--good {{ color: $success; }}
    {widget} > .{prefix}--warn {{ color: $warning; }}
    {widget} > .{prefix}--bad {{ color: $error; }}
    {widget}:ansi > .{prefix}--dim {{ color: ansi_default; text-style: dim; }}
"""


def build_rules(widget: str, prefix: str) -> str:
    """The rules of a widget whose component classes begin so."""
    return _RULES.format(widget=widget, prefix=prefix)


def list_classes(prefix: str, *more: str) -> set[str]:
    """The component classes of a widget."""
    return {f"{prefix}--{name}" for name in (*NAMES, *more)}
