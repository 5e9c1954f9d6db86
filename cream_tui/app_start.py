"""Starting the app from the command line.

Knows the terminal and targets. Must not know screens. Imports Textual only after it is known that there is a terminal.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cream_tui.diagnostics import UsageProblem, warn
from db.paths import find_store_root

if TYPE_CHECKING:
    from cream_tui.targets import Target

SWITCH_INTERVAL_S = 0.0005
_HINT = (
    "Without one: `cream-tui ls`, `show`, `pairs`, `compare`, `watch`, each with --json; `cream-tui --help` lists them."
)


def start_app(store: str | None, target: Target | None = None) -> int:
    """Open the app on the store and return its exit code.

    Raises:
        UsageProblem: There is no terminal that can show it.
    """
    check_terminal()
    # A thread that reads waits for its turn after each row and file; the usual 5 ms add up to a tenth of a second.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.disable()  # until the first frame stands: nothing that loads is garbage, and looking for it takes 50 ms
    from cream_tui.app import CreamApp

    root = find_store_root(store)
    app = CreamApp(root, target, store_option=store)
    code = app.run()
    if app.lost_writes is not None:
        warn(app.lost_writes)
    if app.error is not None:
        raise app.error
    return int(code or 0)


def open_named(store: str | None, name: str, commands: Sequence[str] = ()) -> int:
    """Open the app at RUN, RUN/M2, RUN/pairs/412 or RUN/health.

    Args:
        commands: What the word might have been meant to be instead, for the message.

    Raises:
        UsageProblem: There is no terminal, or no such run; the message then names the nearest command too.
    """
    from cream_tui.stores import open_run_reader
    from cream_tui.targets import parse_target
    from db.errors import RunNotFoundError, StoreError
    from engine.errors import find_nearest

    try:
        with open_run_reader(store) as (_, connection):
            target = parse_target(connection, name)
    except StoreError as error:
        nearest = find_nearest(name, commands)
        if not isinstance(error, RunNotFoundError) and nearest is None:
            raise UsageProblem(f"no command {name}, and no run: {error.message}", error.hint) from error
        guesses = [f"did you mean the command {nearest}?" if nearest else None, error.hint]
        raise UsageProblem(f"no command and no run {name}", "\n".join(filter(None, guesses))) from error
    return start_app(store, target)


def check_terminal() -> None:
    """Refuse what cannot show the app.

    Raises:
        UsageProblem: No terminal, or one that does not move its cursor.
    """
    streams = (sys.stdin, sys.stdout, sys.stderr)  # Textual draws on stderr
    if not all(stream is not None and stream.isatty() for stream in streams):
        raise UsageProblem("the app needs a terminal for its input, output and errors", _HINT)
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        term = os.environ.get("TERM", "")
        raise UsageProblem(f"the app needs a terminal that moves its cursor; TERM is {term or 'not set'}", _HINT)
