"""What screens ask the app for: reading, writing, running commands, telling, copying, undoing.

Knows the store's folder and the terminal. Must not know modes nor screens.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

from textual.app import App
from textual.message import Message
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from cream_tui.shell import saving, session
from cream_tui.shell.actions import Outcome, call_command
from cream_tui.shell.notices import Alert
from cream_tui.shell.pending_writes import PendingWrite, finish_all
from cream_tui.shell.store_link import StoreLink
from cream_tui.shell.terminal import build_copy_sequence
from cream_tui.targets import Target
from cream_tui.text import make_visible

_MOST_UNDOS = 100
_TOAST_S = 4.0


class ServiceApp(App[int]):
    """The services below the modes."""

    def __init__(self, root: Path, store_option: str | None) -> None:
        self.root = Path(root)
        self.store_option = store_option
        self.settings = session.read_settings()
        if os.environ.get("NO_COLOR") == "":  # by the convention an empty one means nothing; Textual heeds it
            del os.environ["NO_COLOR"]
        # Decides how Textual takes colours away: from a theme of the terminal's own, or into grey.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.store_fault: str | None = None
        self.alerts: list[Alert] = []
        self.n_new_alerts = 0
        self.link = StoreLink(self.root, self._post)
        self._undos: list[tuple[str, Callable[[], None]]] = []
        self._writes: deque[PendingWrite] = deque()
        self.lost_writes: str | None = None

    @property
    def has_color(self) -> bool:
        """Whether colours may tell things apart; series have markers where they may not."""
        return not self.no_color

    @property
    def front(self) -> Screen[Any] | None:
        """The mode's own screen, below any window."""
        return self.screen_stack[0] if self.screen_stack else None

    def reader(self) -> AbstractContextManager[sqlite3.Connection | None]:
        """A connection that only reads, for this thread until the block ends; None while there is no store.

        Raises:
            StoreError: The store is there and cannot be read.
        """
        return self.link.borrow()

    def _post(self, message: Message) -> None:
        if self.is_running:
            self.post_message(message)

    def perform(
        self, words: Sequence[str], *, doing: str, done: str, then: Callable[[Outcome], None] | None = None
    ) -> None:
        """Run one of our commands in the background; tell how it ended, then call ``then`` in the loop.

        Args:
            words: The command and its arguments, as the user could type them.
            doing: What is being done, as "stopping demo-cream".
            done: What is told when it went well.
        """
        self.tell(f"{doing} …")

        def work() -> Outcome:
            return call_command(words, self.root, has_no_color=self.no_color)

        def finish(outcome: Outcome) -> None:
            if outcome.is_good:
                self.tell(done)
            else:
                self.alert(f"{doing}: {outcome.message}", "error")
            if then is not None:
                then(outcome)
            self.refresh_screen()

        self.in_background(work, finish)

    def annotate(self, write: Callable[[], object], *, on_failure: Callable[[], None] | None = None) -> None:
        """Write a note, tag, pin or verdict in the background; a failure is told and taken back by ``on_failure``.

        One at a time and in the order of the calls, so that of two quick edits the later one counts.
        """
        self._writes.append(PendingWrite(write, on_failure))
        if len(self._writes) == 1:
            self._write_next()

    def _write_next(self) -> None:
        pending = self._writes[0]

        def finish(problem: str | None) -> None:
            if not self._writes or self._writes[0] is not pending:  # the app ends
                return
            self._writes.popleft()
            if problem is not None:
                self.alert(f"not saved: {problem}", "error")
                if pending.on_failure is not None:
                    pending.on_failure()
            if self._writes:
                self._write_next()

        self.in_background(pending.run, finish)

    def finish_writing(self) -> None:
        """Write what still waits, now: the app ends. What the store did not take is kept to be told."""
        self.lost_writes = finish_all(self._writes) or self.lost_writes

    def in_background(self, work: Callable[[], Any], finish: Callable[[Any], None]) -> None:
        """Call ``work`` in a thread, then ``finish`` with its result in the loop."""
        worker = self.run_worker(work, thread=True, group="background", exit_on_error=True)
        worker.finish = finish  # type: ignore[attr-defined]

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Finish what ran in the background."""
        finish = getattr(event.worker, "finish", None)
        if finish is not None and event.state == WorkerState.SUCCESS:
            finish(event.worker.result)

    def push_undo(self, what: str, undo: Callable[[], None]) -> None:
        """Remember how to take the last step back; ``what`` completes "took back ..."."""
        self._undos.append((what, undo))
        del self._undos[:-_MOST_UNDOS]

    def action_undo(self) -> None:
        """Take the last step back."""
        if not self._undos:
            self.tell("nothing to undo")
            return
        what, undo = self._undos.pop()
        undo()
        self.tell(f"took back {what}")

    def tell(self, text: str) -> None:
        """Say something that needs no answer."""
        self.notify(make_visible(text, keep_newlines=True), markup=False, timeout=_TOAST_S)

    def alert(self, text: str, severity: str = "warning", target: Target | None = None) -> None:
        """Say something that is kept in the inbox."""
        self.keep_alert(text, severity, target)
        self.toast(text, severity)

    def keep_alert(self, text: str, severity: str, target: Target | None = None) -> None:
        """Put something into the inbox; the status line tells that it came."""
        self.alerts.insert(0, Alert(time.strftime("%H:%M:%S"), text, severity, target))
        self.n_new_alerts += 1
        self.refresh_status()

    def toast(self, text: str, severity: str) -> None:
        """Say something for a while."""
        shown = make_visible(text, keep_newlines=True)
        self.notify(shown, severity=cast("Any", severity), markup=False, timeout=2 * _TOAST_S)

    def _fatal_error(self) -> None:
        """Leave the screen without Textual's long traceback: who called ``run`` reports the error with its log."""
        self._close_messages_no_wait()

    @property
    def error(self) -> BaseException | None:
        """The error that ended the app, a defect; None where a person did."""
        return self._exception

    def refresh_screen(self) -> None:
        """Let the screen in front read anew."""

    def refresh_status(self) -> None:
        """Let the screen in front draw its status line anew."""

    def copy(self, text: str, what: str) -> None:
        """Put a text on the clipboard of the person's own terminal; a long one into a file."""
        sequence = build_copy_sequence(text)
        if sequence is None:
            saving.save_text(self, text, what)
            return
        self.write_sequence(sequence)
        self.tell(f"copied {what} ({len(text):,} characters); Y writes it to a file")

    def write_sequence(self, sequence: str) -> None:
        """Write a sequence of our own to the terminal; Textual offers no public way but its clipboard."""
        if self._driver is not None:
            self._driver.write(sequence)
            self._driver.flush()
