"""Colours and marks of states, the same in every table and view. Words of `output` and of rich alike."""

from __future__ import annotations

from collections.abc import Mapping

RUN_STYLES: Mapping[str, str] = {
    "running": "cyan",
    "done": "green",
    "failed": "red",
    "stopped": "yellow",
    "stale": "red",
}
STAGE_STYLES: Mapping[str, str] = {
    "done": "green",
    "reused": "green",
    "failed": "red",
    "interrupted": "red",
    "running": "cyan",
    "waiting": "yellow",
    "pending": "dim",
}
RUN_MARKS: Mapping[str, str] = {
    "running": "●",
    "done": "✓",
    "failed": "✗",
    "stopped": "‖",
    "queued": "◌",
    "stale": "?",
}
