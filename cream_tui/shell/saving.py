"""Writing what a screen shows to files: a table that the person names, a copied text, a picture.

Knows the export formats. Must not know screens but for the table that they give.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cream_tui.export_formats import encode_csv, encode_jsonl, write_whole
from cream_tui.screens.base import StoreScreen, Table
from cream_tui.screens.dialogs import AskText
from db.errors import StoreError

if TYPE_CHECKING:
    from cream_tui.services import ServiceApp

_ENDINGS = (".csv", ".jsonl")
# What must not be in a name that we offer: a run may be called ../../etc.
_NOT_IN_NAMES = re.compile(r"[^\w.+ =-]+")
_MOST_OF_NAME = 100
_OUTSIDE_FONT = re.compile(r"@font-face\s*\{[^}]*\}\s*")


def ask_and_export(app: ServiceApp) -> None:
    """Ask for a file name and write the front screen's table there."""
    table = app.front.get_table() if isinstance(app.front, StoreScreen) else None
    if table is None:
        app.tell("there is nothing here to export")
        return
    hint = f"{len(table.rows):,} rows; .csv or .jsonl; `cream-tui export` writes whole runs"

    def write(name: str | None) -> None:
        if name:
            app.in_background(lambda: write_table(table, find_path(name)), app.tell)

    app.push_screen(AskText("Export what is shown to", f"{name_file(table.name)}.csv", hint=hint, check=_check), write)


def write_table(table: Table, path: Path) -> str:
    """Write the table; what to tell the person: where it is, or why it is not."""
    try:
        rows = [[_take_value(value) for value in row] for row in table.rows]
    except StoreError as error:
        return f"not written: {error.message}"
    encode = encode_jsonl if path.suffix == ".jsonl" else encode_csv
    try:
        write_whole(path, encode(table.columns, rows))
        return f"wrote {len(rows):,} rows to {path.absolute()}"
    except OSError as error:
        return f"{path}: {error.strerror or error}"


def find_path(name: str) -> Path:
    """The path that a person typed.

    Raises:
        RuntimeError: It begins with ~ and nobody is called so.
    """
    return Path(name.strip()).expanduser()


def name_file(name: str) -> str:
    """A name for a file in the current folder, made of whatever a run is called."""
    return _NOT_IN_NAMES.sub("-", name)[:_MOST_OF_NAME].lstrip(".- ") or "cream-tui"


def save_text(app: ServiceApp, text: str, what: str) -> None:
    """Write a text to a file in the current folder and say where."""
    _save(app, text, what, "-".join(["cream-tui", *what.split()]) + ".txt")


def save_picture(app: ServiceApp) -> None:
    """Save the view as SVG in the current folder and say where."""
    _save(app, draw_picture(app), "the picture", f"cream-tui-{app.current_mode}.svg")


def draw_picture(app: ServiceApp) -> str:
    """The view as SVG, in whatever monospace font its reader has: Textual's own picture fetches one from outside."""
    picture = app.export_screenshot(title="cream-tui")
    picture = picture.replace("<svg ", '<svg xml:space="preserve" ', 1)  # else some readers lose columns
    return _OUTSIDE_FONT.sub("", picture).replace("Fira Code", "monospace")


def _save(app: ServiceApp, text: str, what: str, name: str) -> None:
    try:
        path = _find_free_path(name)
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        app.alert(f"{name}: {error.strerror or error}", "error")
    else:
        app.tell(f"wrote {what} to {path}")


def _find_free_path(name: str) -> Path:
    """The name in the current folder, with a number where it is taken."""
    path = Path.cwd() / name
    number = 2
    while path.exists():
        path = Path.cwd() / f"{Path(name).stem}-{number}{Path(name).suffix}"
        number += 1
    return path


def _take_value(value: Any) -> bool | int | float | str | None:
    """What both formats hold; JSON has no number that is none."""
    is_kept = isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))
    return cast("bool | int | float | str", value) if is_kept else None


def _check(name: str) -> str | None:
    try:
        return _find_problem(name)
    except (OSError, RuntimeError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)


def _find_problem(name: str) -> str | None:
    if not name.strip():
        return "a file needs a name"
    if not name.isprintable():
        return "the name holds a character that cannot be seen"
    path = find_path(name)
    if path.suffix not in _ENDINGS:
        return "the name ends in .csv or .jsonl"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    return f"{path} exists; choose another name" if path.exists() else None
