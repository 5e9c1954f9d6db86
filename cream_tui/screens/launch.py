"""The form of a new run: written, looked at while it is written, tried dry, started or queued.

Knows the draft and the panes. Must not know how a run is started: it performs the very command that it shows.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal

from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget

from cream_tui.screens.base import Copied, StoreScreen, Table
from cream_tui.screens.dialogs import Choose
from cream_tui.screens.launch_exits import ask_and_save, edit_draft, start_runs, try_dry
from cream_tui.screens.study_actions import list_study_choices, list_study_palette, open_choice
from cream_tui.stores import format_command
from cream_tui.targets import LaunchTarget, RunTarget, Target
from cream_tui.text import make_visible
from cream_tui.views.launch import (
    BASE_KEY,
    RUN_PREFIX,
    Draft,
    Review,
    build_command,
    describe_draft,
    list_form_fields,
    list_rows,
)
from cream_tui.views.launch_reader import DraftReader, LaunchData
from cream_tui.widgets.launch_panes import Lines, summarise
from cream_tui.widgets.launch_settings import LaunchSettings
from cream_tui.widgets.launch_side import LaunchSide

# After the last key press; a look takes some 10 ms.
DEBOUNCE_S = 0.12
Wish = Literal["start", "queue", "dry run"]

_BINDINGS: list[BindingType] = [
    Binding("ctrl+s", "wish('start')", "Start", id="launch.start", priority=True),
    Binding("ctrl+n", "wish('queue')", "Queue", id="launch.queue", priority=True),
    Binding("ctrl+t", "wish('dry run')", "Dry run", id="launch.dry_run", priority=True),
    Binding("ctrl+f", "find", "Find", id="launch.find", priority=True),
    Binding("slash", "find", "Find a setting", show=False, id="launch.find_setting"),
    Binding("ctrl+b", "choose_base", "Base", id="launch.base", priority=True),
    Binding("ctrl+e", "edit", "As YAML", id="launch.edit", priority=True),
    Binding("escape", "back", "Leave", id="app.back"),
    Binding("ctrl+o", "save", "Save YAML", show=False, id="launch.save"),
    Binding("ctrl+g", "side", "Checks and queue", show=False, id="launch.side"),
    Binding("ctrl+r", "reset", "Take all changes back", show=False, id="launch.reset"),
    Binding("ctrl+y", "app.copy", "Copy the command", show=False, id="launch.copy"),
]


class LaunchScreen(StoreScreen[Draft, LaunchData]):
    """Write a run, look at what it would do, start or queue it."""

    MODE = "launch"
    HELP = (
        "Write a run and start it. Every field is checked while you type. A field that stands for several values makes "
        "several runs: [0.1, 0.5] or, for whole numbers, 1..3. In a field with few choices space takes the next one. "
        "Among what to start from are studies, which make a matrix of runs. "
        "The line at the bottom is the command that does the same; y copies it outside of a field, ctrl+y anywhere."
    )
    CSS_PATH = "launch.tcss"
    BINDINGS: ClassVar[list[BindingType]] = _BINDINGS

    def __init__(self) -> None:
        super().__init__()
        self.draft = Draft()
        self._fields = list_form_fields()
        self._timer: Timer | None = None
        self._pending: Wish | None = None
        self._confirmed: tuple[Wish, Draft] | None = None
        self._doing = ""  # while runs are started
        self._reader: DraftReader | None = None  # only touched by the reading thread
        self.settings = LaunchSettings(self._fields, self.draft.list_texts(None))
        self.form = self.settings.form
        self.side = LaunchSide()
        self.summary, self.command_line = Lines(id="launch-summary"), Lines(id="launch-command")

    def compose_body(self) -> Iterable[Widget]:
        """The form on the left, what follows from it on the right; the command below."""
        with Horizontal(id="launch-body"):
            with Vertical(id="launch-left"):
                yield self.settings
                yield self.summary
            yield self.side
        yield self.command_line

    def on_mount(self) -> None:
        """The cursor goes into the first setting."""
        self.form.hide(self.draft.list_hidden())
        self.call_after_refresh(self.settings.focus_form)

    # Reading and showing ---------------------------------------------------------------------------------------------

    def read_ahead(self) -> None:
        """Nothing: what reads is made with the form."""

    def want(self) -> Draft:
        """The draft as it stands."""
        return self.draft

    def _read(self, want: Draft) -> LaunchData:
        """Look at it; there need not be a store yet."""
        if self._reader is None:
            self._reader = DraftReader(self.cream.root)
        with self.cream.reader() as connection:
            return self._reader.read(connection, want)

    def show(self, data: LaunchData) -> None:
        """Show what was found, and do what waited for it."""
        review = data.review
        run = None if review.base is None else review.base.run
        if run is not None and self.draft.run_reference == run.run_id and run.name == make_visible(run.name):
            self.draft = replace(self.draft, base=f"{RUN_PREFIX}{run.name}")
            self.refresh_data()
            return
        self.form.set_texts(self.draft.list_texts(review.base))
        self.form.set_changed(_list_former_texts(review))
        self.form.set_problems({problem.key: problem.message for problem in review.problems})
        self.settings.set_hints({problem.key: problem.hint for problem in review.problems if problem.hint})
        self.form.hide(self.draft.list_hidden())
        self._show_panes(data)
        self._show_status(data)
        wish, self._pending = self._pending, None
        if wish is not None:
            self._fulfil(wish, data)

    def show_fault(self, message: str) -> None:
        """Nothing is started on a store that cannot be read."""
        self._pending = None
        super().show_fault(message)

    def _show_panes(self, data: LaunchData) -> None:
        review = data.review
        self.side.show(data)
        self.summary.set_lines(summarise(data))
        style = "" if review.is_sound else "$foreground 60%"
        command = Content.styled(make_visible(self._format_commands()[0]), style)
        more = Content.styled(_tell_more(len(review.commands) - 1), "$foreground 60%")
        self.command_line.set_lines([Content.assemble(("$ ", "$primary bold"), command, more)])

    def _show_status(self, data: LaunchData) -> None:
        n = len(data.review.configs)
        self.top_bar.set_texts(describe_draft(data.review), f"{n} runs" if n > 1 else "")
        if self._doing:
            self.status_line.set_text(self._doing)
        elif not data.can_start or self._confirmed is None or self._confirmed[1] != self.draft:
            self.status_line.set_text(_tell_readiness(data))

    # Writing ---------------------------------------------------------------------------------------------------------

    def on_launch_form_edited(self) -> None:
        """It is looked at once the typing pauses."""
        self._take_typed()

    def _take_typed(self) -> None:
        """Take into the draft what the fields say that it does not."""
        base = None if self.data is None else self.data.review.base
        draft = self.draft
        for key, text in self.form.take_typed().items():
            draft = draft.change(key, text, base)
        self._take(draft, delay_s=DEBOUNCE_S)

    def _take(self, draft: Draft, *, delay_s: float = 0.0) -> None:
        if draft == self.draft:
            return
        self.draft = draft
        if self.side.has_dry_run:
            self.side.mark_outdated()
        if self._timer is not None:
            self._timer.stop()
        if self.is_mounted and delay_s:
            self._timer = self.set_timer(delay_s, self.refresh_data)
        else:
            self.refresh_data()

    def _replace(self, draft: Draft, what: str) -> None:
        """Take another draft; undo brings the old one back."""
        former = self.draft
        if former.values or former.tags:
            self.cream.push_undo(what, lambda: self._take(former))
        self._take(draft)

    def open_target(self, target: Target) -> None:
        """Start from what was named; where nothing was, the draft is the one that was left."""
        if not isinstance(target, LaunchTarget):
            return
        if target.source_run_id is not None:
            draft = Draft(base=f"{RUN_PREFIX}{target.source_run_id}", at=target.fork_at or "")
        elif target.base is not None:
            draft = Draft(base=target.base)
        else:
            return
        if self.is_mounted:
            self._replace(draft, "another draft")
            self.settings.focus_form()
        else:
            self.draft = draft

    def action_choose_base(self) -> None:
        """Ask what the run comes from; a study is shown in a window of its own."""
        if self._doing:
            return

        def take(base: str | None) -> None:
            if base is not None and not open_choice(self.cream, base):
                self._replace(replace(self.draft, base=base, at=""), "another base")

        bases = _list_bases(self._fields[0].choices, () if self.data is None else self.data.sources)
        self.app.push_screen(Choose("Start from", bases), take)

    def action_edit(self) -> None:
        """Lend the terminal to the person's editor."""
        if self._doing:
            return
        base = None if self.data is None else self.data.review.base
        if base is None:
            self.cream.tell("the base cannot be read yet")
            return
        edited = edit_draft(self.cream, self.draft, base)
        if edited is not None:
            self._replace(edited, "the edited draft")

    def action_save(self) -> None:
        """Write the configuration to a file."""
        if self.data is None or not self.data.review.is_sound or self.data.review.draft != self.draft:
            self.cream.tell("only a sound draft is saved")
            return
        ask_and_save(self.cream, self.data.review.configs[0])

    def action_reset(self) -> None:
        """The base as it is."""
        if not self._doing:
            self._replace(Draft(base=self.draft.base, at=self.draft.at), "all changes")

    # Moving about ----------------------------------------------------------------------------------------------------

    def action_find(self) -> None:
        """Open the line that narrows the form."""
        self.settings.start_finding()

    def action_side(self) -> None:
        """Go to the queue, or in a narrow terminal show what stands beside the form."""
        if self.has_class("-side") or (self.has_class("-wide") and self.side.queue.has_focus):
            self.remove_class("-side")
            self.settings.focus_form()
        else:
            self.set_class(not self.has_class("-wide"), "-side")
            self.side.queue.focus()

    def action_back(self) -> None:
        """Close what is open; else one step back. The draft stays."""
        if self.settings.is_finding:
            self.settings.stop_finding()
        elif self.side.has_dry_run:
            self.side.close_dry_run()
            self.remove_class("-side")
            self.settings.focus_form()
        elif self.has_class("-side") or self.side.queue.has_focus:
            self.action_side()
        else:
            super().action_back()

    # Starting --------------------------------------------------------------------------------------------------------

    def action_wish(self, wish: Wish) -> None:
        """Do it as soon as the draft as it stands was looked at; nothing while runs are started."""
        if self._doing:
            return
        self._take_typed()
        self._pending = wish
        if self._timer is not None:
            self._timer.stop()
        self.refresh_data()

    def _fulfil(self, wish: Wish, data: LaunchData) -> None:
        if not data.can_start:
            problems = data.review.problems
            if problems and not self.form.focus_field(problems[0].key):
                self.form.focus_field(BASE_KEY)
            self.cream.tell(f"not started: {problems[0].message}" if problems else "not started: see the checks")
            return
        if wish == "dry run":
            try_dry(self.cream, data.review, self.side.show_dry_run)
            self.set_class(not self.has_class("-wide"), "-side")
            return
        doubts = data.list_doubts(is_queued=wish == "queue")
        if doubts and self._confirmed != (wish, self.draft):
            self._confirmed = wish, self.draft
            words = f"! {'; '.join(doubts)}. {'ctrl+s' if wish == 'start' else 'ctrl+n'} again: yes"
            self.status_line.set_text(Content.styled(make_visible(words), "$warning"))
            return
        self._start(data.review, is_queued=wish == "queue")

    def _start(self, review: Review, *, is_queued: bool) -> None:
        words = [_finish_command(command, is_queued=is_queued) for command in review.commands]
        commands = [(config.name, command) for config, command in zip(review.configs, words, strict=True)]

        def finish(run_ids: list[str]) -> None:
            self._set_doing("")
            self._confirmed = None
            self.refresh_data()
            if run_ids and not is_queued:
                self.cream.go_to(RunTarget(run_ids[0]))

        self._set_doing(_tell_start([name for name, _ in commands], is_queued=is_queued))
        start_runs(self.cream, commands, is_queued=is_queued, finish=finish)

    def _set_doing(self, words: str) -> None:
        self._doing = words
        self.form.set_locked(bool(words))
        self.status_line.set_text(words)

    # What the app asks -----------------------------------------------------------------------------------------------

    def get_command(self) -> str | None:
        """The command of the first run."""
        return shlex.join(self._list_commands()[0])

    def get_copy(self) -> Copied | None:
        """The commands of all runs."""
        commands = self._format_commands()
        return Copied("\n".join(commands), "command" if len(commands) == 1 else f"{len(commands)} commands")

    def get_table(self) -> Table | None:
        """Every setting with its base's."""
        base = None if self.data is None else self.data.review.base
        return Table("draft", ("key", "value", "base"), list_rows(self.draft, base))

    def list_palette(self) -> Iterable[tuple[str, str, Any]]:
        """The shipped configurations to start from, and the studies."""
        yield from list_study_palette(self.cream)
        for name in self._fields[0].choices:
            draft = replace(self.draft, base=name, at="")
            yield f"Start from {name}", "A shipped configuration", lambda draft=draft: self._replace(draft, "the base")

    def save_view(self) -> dict[str, Any]:
        """The draft."""
        return {"draft": asdict(replace(self.draft, values=dict(self.draft.values)))}

    def restore_view(self, view: dict[str, Any]) -> None:
        """Take up the draft that was left."""
        self.draft = _read_draft(view.get("draft")) or self.draft

    def _list_commands(self) -> list[list[str]]:
        review = None if self.data is None or self.data.review.draft != self.draft else self.data.review
        commands = () if review is None else review.commands
        return [_finish_command(command) for command in commands or [build_command(self.draft)]]

    def _format_commands(self) -> list[str]:
        return [format_command(shlex.join(words), self.cream.store_option) for words in self._list_commands()]


def _list_bases(shipped: Sequence[str], sources: Sequence[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """What there is to start from, as choices: shipped configurations, studies, stored runs."""
    named = [(name, f"{name}  shipped") for name in shipped]
    runs = [(f"{RUN_PREFIX}{name}", f"{name}  run, {method}, {state}") for name, method, state in sources]
    return [*named, *list_study_choices(), *runs]


def _tell_start(names: Sequence[str], *, is_queued: bool) -> str:
    """What goes on while runs are started."""
    what = f"{len(names)} runs" if len(names) > 1 else names[0]
    return f"{'queueing' if is_queued else 'starting'} {what} …"


def _tell_more(n: int) -> str:
    """That there are more commands than the one that is shown."""
    return f"   and {n} more (y copies all)" if n > 0 else ""


def _tell_readiness(data: LaunchData) -> str | Content:
    """Whether the draft can start, and with which keys."""
    review, n = data.review, len(data.review.configs)
    if not data.can_start:
        n_wrong = len(review.problems) or sum(check.status == "bad" for check in data.checks)
        words = "1 thing is" if n_wrong == 1 else f"{n_wrong} things are"
        return Content.styled(f"✗ {words} wrong: ctrl+s goes there", "$error")
    return f"sound: {n} runs, ctrl+n queues them" if n > 1 else "sound: ctrl+s starts it, ctrl+n queues it"


def _finish_command(words: Iterable[str], *, is_queued: bool = False) -> list[str]:
    """The words with how the run is started: the app does not wait for it."""
    return [*words, *(["--queue"] if is_queued else []), "--detach"]


def _list_former_texts(review: Review) -> dict[str, str]:
    """What the changed fields were, also of a draft that is not sound."""
    former = {} if review.base is None else {key: review.base.texts.get(key, "") for key in review.draft.values}
    named = {"name"} - review.draft.values.keys()
    return former | {d.key: d.before for d in review.differences if d.key not in named}


def _read_draft(content: object) -> Draft | None:
    """A draft from what a file says; None where that is none."""
    if not isinstance(content, dict) or set(content) != set(Draft.__dataclass_fields__):
        return None
    values, texts = content["values"], [content["base"], content["at"], content["tags"]]
    flags = [content["is_reusing"], content["uses_verdicts"]]
    if not isinstance(values, dict) or not all(isinstance(text, str) for text in [*values, *values.values(), *texts]):
        return None
    return Draft(**content) if all(isinstance(flag, bool) for flag in flags) else None
