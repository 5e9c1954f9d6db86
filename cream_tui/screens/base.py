"""What every screen of the app shares: its frame, reading the store beside the event loop, going back, copying.

Knows the app and Textual. Must not know what a screen shows. A screen says what it wants (``want``), how that is read
(``read``, in a thread) and how it is shown (``show``, in the loop); an answer to a wish that has changed is dropped.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from cream_tui.output import measure
from cream_tui.pacing import Pace
from cream_tui.shell.span_updates import SpanCompositor
from cream_tui.text import make_visible
from cream_tui.views.columns import cut_middle
from cream_tui.widgets.key_line import KeyLine
from db.errors import StoreError

if TYPE_CHECKING:
    from cream_tui.app import CreamApp
    from cream_tui.targets import Target

Want = TypeVar("Want")
Data = TypeVar("Data")

WIDE = 100
NARROW = 60
_LEAST_NAME = 16
_PALE = "$foreground 70%"
# Key, mode and title of each tab.
TABS = (
    ("1", "runs", "Runs"),
    ("2", "run", "Run"),
    ("3", "pairs", "Pairs"),
    ("4", "compare", "Compare"),
    ("5", "launch", "Launch"),
    ("6", "health", "Health"),
    ("7", "study", "Study"),
)


@dataclass(frozen=True, slots=True)
class Table:
    """What a screen shows, as rows to export."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Copied:
    """A text to copy, and what it is, in a word or two."""

    text: str
    what: str


class TopBar(Static):
    """Tabs, the screen's title, and facts on the right; one line."""

    def __init__(self, mode: str) -> None:
        super().__init__(id="top-bar")
        self._mode = mode
        self._title = ""
        self._facts = ""

    def set_texts(self, title: str, facts: str = "") -> None:
        """Show these; both are made visible here."""
        texts = make_visible(title), make_visible(facts)
        if texts != (self._title, self._facts):
            self._title, self._facts = texts
            self.refresh()

    def render(self) -> Content:
        """The line, as wide as it may be."""
        width = self.size.width
        is_wide = width >= WIDE
        tabs = [
            (text, "$background on $primary bold" if mode == self._mode else _PALE) for mode, text in self._list_tabs()
        ]
        brand = Content.styled("cream ", "$primary bold") if is_wide else Content("")
        head = Content.assemble(brand, *tabs, "  " if is_wide else " ")
        left = Content.assemble(head, (self._title, "bold"))
        facts = self._facts
        if left.cell_length + measure(facts) + 3 <= width:
            return Content.assemble(left, " " * (width - left.cell_length - measure(facts) - 1), (facts, _PALE))
        if is_wide:
            facts = cut_middle(facts, max(width // 4, width - left.cell_length - 3))
            left = left.truncate(width - measure(facts) - 2, ellipsis=True)
            return Content.assemble(left, "  ", (facts, _PALE))
        name, gap, rest = self._title.partition("  ")  # the end of a name tells it from others
        name = cut_middle(name, max(_LEAST_NAME, width - head.cell_length - measure(gap + rest)))
        return Content.assemble(head, (f"{name}{gap}{rest}", "bold")).truncate(width, ellipsis=True)

    def on_click(self, event: Any) -> None:
        """A click on a tab opens it."""
        at = len("cream ") if self.size.width >= WIDE else 0
        for mode, text in self._list_tabs():
            if at <= event.x < at + len(text):
                self.app.run_worker(cast("CreamApp", self.app).show_mode(mode))
                return
            at += len(text)

    def _list_tabs(self) -> list[tuple[str, str]]:
        """Each mode with the text of its tab: closer together where the screen is narrow, without titles where tiny."""
        tabs = []
        for key, mode, title in TABS:
            is_front = mode == self._mode
            word = f"{key} {title}" if is_front or self.size.width >= NARROW else key
            tabs.append((mode, f" {word} " if is_front or self.size.width >= WIDE else f" {word}"))
        return tabs


class StatusLine(Static):
    """One line above the keys: what the screen says of itself on the left, alerts on the right."""

    def __init__(self) -> None:
        super().__init__(id="status-line")
        self._text = Content("")

    def set_text(self, text: str | Content) -> None:
        """Show this; a plain text is made visible here."""
        shown = text if isinstance(text, Content) else Content(make_visible(text))
        if not shown.is_same(self._text):
            self._text = shown
            self.refresh()

    def render(self) -> Content:
        """The line."""
        app = cast("CreamApp", self.app)
        right = Content("")
        if app.store_fault is not None:
            right = Content.styled(f"✗ {make_visible(app.store_fault)}", "$error")
        elif app.n_new_alerts:
            right = Content.styled(f"! {app.n_new_alerts} new (press !)", "$warning")
        room = self.size.width - right.cell_length - 2
        left = self._text.truncate(max(0, room), ellipsis=True)
        return Content.assemble(left, " " * max(1, room - left.cell_length + 1), right)


class StoreScreen(Screen[None], Generic[Want, Data]):
    """A mode of the app. Subclasses give MODE, HELP, ``compose_body``, ``want``, ``read``, ``show``."""

    MODE: ClassVar[str] = ""
    HELP: ClassVar[str] = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (NARROW, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - Textual's own
    VERTICAL_BREAKPOINTS = [(0, "-low"), (30, "-tall")]  # noqa: RUF012 - Textual's own
    AUTO_FOCUS: ClassVar[str | None] = ".first-focus"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back", show=False, id="app.back")]

    def __init__(self) -> None:
        super().__init__()
        self._compositor = SpanCompositor()
        self._reading: Want | None = None
        self._ahead: Future[Data | None] | None = None
        self._is_reading = False
        self._is_due = False
        self._read_s = 0.0
        self._pace = Pace(0.0)
        self._is_behind = False
        self._follow_timer: Timer | None = None
        self.top_bar = TopBar(self.MODE)
        self.status_line = StatusLine()
        self.data: Data | None = None
        self.came_from = "runs"

    @property
    def cream(self) -> CreamApp:
        """The app."""
        return cast("CreamApp", self.app)

    @property
    def is_reading(self) -> bool:
        """Whether an answer is still to come."""
        return self._is_reading

    def compose(self) -> ComposeResult:
        """The frame; the body is the subclass's."""
        yield self.top_bar
        yield from self.compose_body()
        yield self.status_line
        yield KeyLine()

    def compose_body(self) -> Iterable[Widget]:
        """The widgets between the top bar and the status line."""
        raise NotImplementedError

    def want(self) -> Want | None:
        """What is to be read, as a comparable value made from the screen's state; None: nothing."""
        raise NotImplementedError

    def read(self, connection: sqlite3.Connection, want: Want) -> Data:
        """Read it. Runs in a thread: must not touch widgets or the screen's state."""
        raise NotImplementedError

    def show(self, data: Data) -> None:
        """Show what was read. Called again after every commit: keep cursor, scroll and focus."""
        raise NotImplementedError

    def show_nothing(self) -> None:
        """Show that there is nothing to read: no store yet, or nothing is wanted."""

    def show_fault(self, message: str) -> None:
        """Tell that reading failed; what is on the screen stays."""
        self.status_line.set_text(message)

    def open_target(self, target: Target) -> None:
        """Go to what a link or another screen named; followed by ``refresh_data``."""

    def get_command(self) -> str | None:
        """The words of the command that shows the same, without the program's name."""
        return None

    def get_copy(self) -> Copied | None:
        """What ``y`` copies: the thing under the cursor."""
        return None

    def get_table(self) -> Table | None:
        """What ``E`` exports: what is shown, raw."""
        return None

    def save_view(self) -> dict[str, Any]:
        """What of this screen is to be found again at the next start, as JSON."""
        return {}

    def restore_view(self, view: dict[str, Any]) -> None:
        """Take up what ``save_view`` gave; whatever does not fit any more is ignored."""

    def refresh_data(self) -> None:
        """Read in the background and show; calls while it reads are joined into one more."""
        if not self.is_mounted or not self.is_current_mode:
            self._is_due = self._is_reading  # what is read ahead may be older than what this call is for
            return
        want = self.want()
        if want is None:
            self.show_nothing()
            return
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            if ahead.done() and ahead.exception() is None:
                self.call_later(self._settle, ahead.result(), None)
            else:
                self.run_worker(ahead.result, thread=True, group="read", exit_on_error=False)
        elif self._is_reading:
            self._is_due = True
        else:
            self._is_reading, self._is_due, self._reading = True, False, want
            self.run_worker(lambda: self._read(want), thread=True, group="read", exit_on_error=False)

    def follow(self) -> None:
        """Read anew after a commit, at the pace that the last reading allows."""
        if self._is_reading:
            self._is_behind = True
        elif self._follow_timer is None:
            if (wait_s := self._pace.wait_s) == 0:
                self.refresh_data()
            else:
                self._follow_timer = self.set_timer(wait_s, self._follow_up)

    def _follow_up(self) -> None:
        self._follow_timer = None
        self.refresh_data()

    def read_ahead(self) -> None:
        """Begin to read before the screen stands, which takes longer than to read; the first refresh takes it up."""
        want = self.want()
        if want is not None:
            self._is_reading, self._reading = True, want
            with_context = copy_context()  # in which ``self.app`` is known
            executor = ThreadPoolExecutor(1)
            self._ahead = executor.submit(with_context.run, self._read, want)
            executor.shutdown(wait=False)

    @property
    def is_current_mode(self) -> bool:
        """Whether this screen is the bottom of the stack in front."""
        return bool(self.app.screen_stack) and self.app.screen_stack[0] is self

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Take the answer of a reading."""
        if event.worker.group != "read" or event.state not in (WorkerState.SUCCESS, WorkerState.ERROR):
            return
        event.stop()
        self._settle(event.worker.result, event.worker.error)

    def _settle(self, data: Data | None, error: BaseException | None) -> None:
        """Show the answer to a reading where it is still wanted, and read again where something has changed."""
        self._is_reading = False
        began = time.monotonic()
        is_wanted = self.want() == self._reading
        if isinstance(error, StoreError):
            self.show_fault(error.message)
        elif error is not None:
            raise error
        elif data is None:
            self.show_nothing()
        elif is_wanted:
            self.data = data
            self.show(data)
        self._pace.rest(self._read_s + time.monotonic() - began)
        if self._is_due or self.want() != self._reading:
            self.refresh_data()
        elif self._is_behind:
            self._is_behind = False
            self.follow()

    def on_screen_resume(self) -> None:
        """Catch up with what was committed while another screen was in front."""
        self.refresh_data()

    def action_back(self) -> None:
        """One step back: to the study that it was opened from, else to the list of runs.

        A screen with something open closes that first.
        """
        if self.MODE != "runs":
            before, self.came_from = self.came_from, "runs"
            self.app.run_worker(self.cream.show_mode(before))

    def _read(self, want: Want) -> Data | None:
        began = time.monotonic()
        try:
            with self.cream.reader() as connection:
                return None if connection is None else self.read(connection, want)
        finally:
            self._read_s = time.monotonic() - began
