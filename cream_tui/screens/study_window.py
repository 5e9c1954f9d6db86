"""A study before it is started: its plan, the command that starts it, and how many runs work at once.

Knows the engine's plan of a study, told by ``views.study_plan``, and the app's commands. Must not know which screen is
below. What starts is the very command that it shows.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from cream_tui.output import lay_out_table
from cream_tui.screens.dialogs import Dialog
from cream_tui.shell.actions import Outcome
from cream_tui.stores import format_command
from cream_tui.targets import RunsTarget
from cream_tui.text import make_visible
from cream_tui.views.study_plan import PLAN_COLUMNS, build_plan_rows, describe_headline, list_facts, tell_changes
from db.errors import StoreError
from engine.errors import CreamError

if TYPE_CHECKING:
    from cream_tui.app import CreamApp
    from engine.runtime.study_plan import StudyPlan

_STYLES = {"bold": "$foreground 60%"}  # titles of the table
_START_KEYS = (("enter", "start"), ("- +", "at once"))
_KEYS = (("y", "copy"), ("ctrl+t", "plan anew"))


class StudyWindow(Dialog[None]):
    """Shows what a study would do; enter starts it."""

    VERTICAL_BREAKPOINTS = [(0, "-low"), (30, "-tall")]  # noqa: RUF012 - Textual's own
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Leave"),
        Binding("enter,ctrl+s", "start", "Start"),
        Binding("ctrl+t", "plan", "Plan anew"),
        Binding("plus,equals_sign", "add_jobs(1)", "More runs at once"),
        Binding("minus", "add_jobs(-1)", "Fewer runs at once"),
        Binding("y", "copy", "Copy the command"),
        Binding("down,j", "scroll(1)", show=False),
        Binding("up,k", "scroll(-1)", show=False),
        Binding("pagedown", "scroll(10)", show=False),
        Binding("pageup", "scroll(-10)", show=False),
    ]

    def __init__(self, study: str) -> None:
        """``study`` is a shipped name or a file."""
        super().__init__()
        self._study = study
        self._jobs: int | None = None  # as the person chose
        self.plan: StudyPlan | None = None
        self.problem: CreamError | StoreError | None = None
        self._is_planning = False

    def compose(self) -> ComposeResult:
        """Plan, command, keys."""
        with Vertical(classes="dialog-box study-box"):
            yield Static(Content.styled(f"Study {make_visible(self._study)}", "bold"), id="study-title")
            with VerticalScroll(can_focus=False):
                yield Static(id="study-plan", classes="dialog-detail")
            yield Static(id="study-command")
            yield Static(id="study-keys")

    def on_mount(self) -> None:
        """Plan it."""
        self.action_plan()

    def on_resize(self) -> None:
        """The table fits its columns anew."""
        if not self._is_planning:
            self.call_after_refresh(self._draw)

    @property
    def words(self) -> list[str]:
        """The command that starts the study."""
        jobs = [] if self._jobs is None else ["--jobs", str(self._jobs)]
        return ["sweep", self._study, *jobs, "--detach"]

    def action_plan(self) -> None:
        """Work the plan out beside the event loop, from the file as it is now."""
        if self._is_planning:
            return
        self._is_planning = True
        self._draw("planning …")
        root, study, jobs = self._cream.root, self._study, self._jobs

        def work() -> StudyPlan | CreamError | StoreError:
            try:
                return _plan(root, study, jobs)
            except (CreamError, StoreError) as error:
                return error

        self._cream.in_background(work, self._take)

    def action_add_jobs(self, step: int) -> None:
        """Let more or fewer runs work at once; the plan stays what it is but for that."""
        if self.plan is None or self._is_planning:
            return
        jobs = self.plan.jobs if self._jobs is None else self._jobs
        self._jobs = min(max(1, jobs + step), len(self.plan.arms))
        self.action_plan()

    def action_copy(self) -> None:
        """Copy the command."""
        self._cream.copy(self._format_command(), "command")

    def action_scroll(self, lines: int) -> None:
        """Move through a long plan."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_leave(self) -> None:
        """Close; nothing is started."""
        self.dismiss(None)

    def action_start(self) -> None:
        """Perform the command, then show the study in the list of runs."""
        if self.plan is None or self._is_planning:
            if self.problem is not None:
                self._cream.tell(f"not started: {self.problem.message}")
            return
        app, name = self._cream, self.plan.study.name

        def show(study_id: str | None) -> None:
            app.go_to(RunsTarget(study_id=study_id))

        def finish(outcome: Outcome) -> None:
            if outcome.is_good:
                app.in_background(lambda: _find_id(app, name), show)

        app.perform(self.words, doing=f"starting the study {name}", done=f"the study {name} goes on", then=finish)
        self.dismiss(None)

    def _take(self, found: StudyPlan | CreamError | StoreError) -> None:
        self._is_planning = False
        self.plan, self.problem = (None, found) if isinstance(found, (CreamError, StoreError)) else (found, None)
        if self.is_mounted:
            self._tell_purpose()
            self._draw()

    def _tell_purpose(self) -> None:
        """What the study is for, as the first comment of its file says."""
        from engine.config.shipped import read_purpose
        from engine.config.study import find_study_file

        purpose = "" if self.plan is None else read_purpose(find_study_file(self._study))
        title = Content.styled(f"Study {make_visible(self._study)}", "bold")
        detail = Content.styled(f"\n{make_visible(purpose)}", "$foreground 80%") if purpose else Content("")
        self.query_one("#study-title", Static).update(Content.assemble(title, detail))

    def _draw(self, words: str = "") -> None:
        if self.problem is not None and not words:
            hint = f"\n{make_visible(self.problem.hint, keep_newlines=True)}" if self.problem.hint else ""
            told = make_visible(self.problem.message, keep_newlines=True)
            text = Content.assemble((f"✗ {told}", "$error"), (hint, "$foreground 80%"))
        elif self.plan is not None and not words:
            text = Content("\n").join(lay_out_plan(self.plan, self.query_one("#study-plan").size.width))
        else:
            text = Content.styled(words, "$foreground 60%")
        self.query_one("#study-plan", Static).update(text)
        offered = (*(_START_KEYS if self.plan is not None else ()), *_KEYS)
        keys = [part for key, does in offered for part in ((key, "$primary bold"), f" {does}   ")]
        keys_line = Content.assemble(*keys, ("esc", "$primary bold"), " leave")
        self.query_one("#study-keys", Static).update(keys_line)
        command = Content.styled(make_visible(self._format_command()), "" if self.plan else "$foreground 60%")
        self.query_one("#study-command", Static).update(Content.assemble(("$ ", "$primary bold"), command))

    def _format_command(self) -> str:
        return format_command(shlex.join(self.words), self._cream.store_option)

    @property
    def _cream(self) -> CreamApp:
        return cast("CreamApp", self.app)


def lay_out_plan(plan: StudyPlan, width: int) -> list[Content]:
    """Headline, what it costs, what is new to the stored study of its name, a line for each arm."""
    table = lay_out_table(PLAN_COLUMNS, build_plan_rows(plan), width=width)
    arms = [Content.assemble(*((cell.text, _STYLES.get(cell.style, "")) for cell in line)) for line in table]
    facts = [Content.assemble((f"{name:<8}", "$foreground 60%"), make_visible(text)) for name, text in list_facts(plan)]
    changes = [Content.styled(make_visible(line), "$warning") for line in tell_changes(plan)]
    headline = Content.styled(make_visible(describe_headline(plan)), "bold")
    return [headline, *facts, *changes, Content(""), *arms]


def _plan(root: Path, name: str, jobs: int | None) -> StudyPlan:
    """The plan of a study, after every check that a start makes.

    Raises:
        CreamError: The file or a run of it is not sound.
        StoreError: The store cannot be read.
    """
    from engine.config.study import load_study
    from engine.runtime.study_plan import check_study, plan_study

    study = load_study(name)
    check_study(study)
    return plan_study(root, study, jobs=jobs)


def _find_id(app: CreamApp, name: str) -> str | None:
    from db.studies import find_study

    try:
        with app.reader() as connection:
            return None if connection is None else find_study(connection, name).study_id
    except StoreError:
        return None
