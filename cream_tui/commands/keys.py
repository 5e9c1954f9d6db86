"""`keys`: every key of the app with the id by which keys.yaml names it."""

from __future__ import annotations

import dataclasses

from cream_tui import diagnostics, output
from cream_tui.output import Cell, Column
from cream_tui.shell.key_list import list_keys
from cream_tui.shell.keymap import find_keys_file, read_keys
from engine.errors import ExitCode

_COLUMNS = (Column("id"), Column("keys"), Column("chosen"), Column("what it does", is_flexible=True))


def keys(*, as_json: bool) -> int:
    """Print the keys, and what is wrong with the person's own file."""
    known = list_keys()
    path = find_keys_file()
    chosen = read_keys(path, [key.binding_id for key in known])
    if as_json:
        output.print_json([dataclasses.asdict(key) | {"chosen": chosen.keys.get(key.binding_id)} for key in known])
    else:
        section = ""
        rows: list[list[str | Cell]] = []
        for key in known:
            if key.section != section:
                section = key.section
                rows.append([Cell(section, "bold"), "", "", ""])
            rows.append([key.binding_id, key.keys, chosen.keys.get(key.binding_id, ""), key.description])
        output.print_table(_COLUMNS, rows)
        diagnostics.narrate(f"Other keys: one line per action in {path}, as  runs.stop: ctrl+x")
    for problem in chosen.problems:
        diagnostics.warn(problem)
    return ExitCode.DONE
