"""What ends the app from outside: a hangup, a kill, an interrupt, a terminal that is gone. Ctrl-C in the app is a key.

Knows the event loop and the terminal. Must not know what has to be done before the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

_SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
_HUNG_UP = 128 + signal.SIGHUP
# Where the terminal is gone, leaving it properly may wait for it in vain.
_FORCE_AFTER_S = 3.0
# Where even the loop waits for it.
_FORCE_BLOCKED_AFTER_S = 20.0
_LOOK_EVERY_S = 1.0


def heed_signals(end: Callable[[int], None]) -> None:
    """Call ``end`` in the loop with the exit code that belongs to what happened; an ignored signal stays ignored."""
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, end, 128 + number)
    threading.Thread(target=_watch_terminal, args=(loop, end), name="terminal-watcher", daemon=True).start()


def force_end(code: int, after_s: float = _FORCE_AFTER_S) -> None:
    """End the process in a few seconds, whatever it still waits for then."""
    timer = threading.Timer(after_s, os._exit, (code,))
    timer.daemon = True
    timer.start()


def _watch_terminal(loop: asyncio.AbstractEventLoop, end: Callable[[int], None]) -> None:
    """With ``nohup`` no signal comes: Textual would look for keys without a pause, for ever."""
    handle = -1 if sys.__stdin__ is None else sys.__stdin__.fileno()
    while os.isatty(handle):
        time.sleep(_LOOK_EVERY_S)
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(end, _HUNG_UP)
        force_end(_HUNG_UP, _FORCE_BLOCKED_AFTER_S)
