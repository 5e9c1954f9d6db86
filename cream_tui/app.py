"""The terminal app: seven modes over one store, and what they share.

Knows modes, targets and the store's folder. Must not know what a screen shows, and holds no training: runs are started
and stopped by commands in processes of their own, and everything shown is read from the store.
"""

from __future__ import annotations

import gc
from asyncio import Lock
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.screen import Screen

from cream_tui.screens.base import Copied, StoreScreen
from cream_tui.services import ServiceApp
from cream_tui.shell import saving, session
from cream_tui.shell.end_signals import force_end, heed_signals
from cream_tui.shell.notices import (
    Alert,
    RunState,
    StoreChanged,
    StoreFault,
    WarningsFound,
    describe_run_end,
    list_ended,
    list_ended_studies,
    tell_warning,
)
from cream_tui.shell.palette import PROVIDERS, Palette
from cream_tui.shell.terminal import build_notice_sequence
from cream_tui.shell.themes import ANSI_DARK, THEME_NAMES, THEMES, choose_theme
from cream_tui.stores import format_command
from cream_tui.targets import (
    CompareTarget,
    HealthTarget,
    LaunchTarget,
    PairsTarget,
    RunsTarget,
    RunTarget,
    StudyTarget,
    Target,
)
from db.studies import StudyCount

# A mode's screen is imported and built at its first visit.
_SCREENS = {
    "runs": ("cream_tui.screens.runs", "RunsScreen"),
    "run": ("cream_tui.screens.run", "RunScreen"),
    "pairs": ("cream_tui.screens.pairs", "PairsScreen"),
    "compare": ("cream_tui.screens.compare", "CompareScreen"),
    "launch": ("cream_tui.screens.launch", "LaunchScreen"),
    "health": ("cream_tui.screens.health", "HealthScreen"),
    "study": ("cream_tui.screens.study", "StudyScreen"),
}
_SCREENS_WITH_WARNINGS = ("run", "health")
_TARGET_MODES: dict[type, str] = {
    RunsTarget: "runs",
    RunTarget: "run",
    PairsTarget: "pairs",
    CompareTarget: "compare",
    LaunchTarget: "launch",
    HealthTarget: "health",
    StudyTarget: "study",
}


class CreamApp(ServiceApp):
    """The app on one store. Screens reach it as ``self.cream``."""

    TITLE = "cream-tui"
    CSS_PATH = "app.tcss"
    COMMANDS = PROVIDERS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "mode('runs')", "Runs", show=False, id="app.runs"),
        Binding("2", "mode('run')", "The current run", show=False, id="app.run"),
        Binding("3", "mode('pairs')", "Its pairs", show=False, id="app.pairs"),
        Binding("4", "mode('compare')", "Compare", show=False, id="app.compare"),
        Binding("5", "mode('launch')", "Launch", show=False, id="app.launch"),
        Binding("6", "mode('health')", "Health of the current run", show=False, id="app.health"),
        Binding("7", "mode('study')", "The current study over its seeds", show=False, id="app.study"),
        Binding("question_mark,f1", "help", "Help", id="app.help"),
        Binding("exclamation_mark", "alerts", "Alerts", show=False, id="app.alerts"),
        Binding("y", "copy", "Copy", show=False, id="app.copy"),
        Binding("Y", "copy_to_file", "Copy to a file", show=False, id="app.copy_to_file"),
        Binding("dollar_sign", "copy_command", "Copy the command that shows the same", show=False, id="app.command"),
        Binding("E", "export", "Export what is shown", show=False, id="app.export"),
        Binding("ctrl+z,U", "undo", "Undo", show=False, id="app.undo"),
        Binding("f12", "picture", "Save a picture (SVG)", show=False, id="app.picture"),
        Binding("ctrl+t", "next_theme", "Next theme", show=False, id="app.theme"),
        Binding("ctrl+l", "redraw", "Draw anew", show=False, id="app.redraw"),
        Binding("q", "quit", "Quit", show=False, id="app.quit"),
    ]

    def __init__(self, root: Path, target: Target | None = None, *, store_option: str | None = None) -> None:
        """``root`` is the store's folder; without a target the last view of the store is opened."""
        self.view = session.read_view(root)
        self._start_target = target or session.restore_target(root, self.view)
        self.DEFAULT_MODE = _TARGET_MODES[type(self._start_target)]  # type: ignore[misc]
        theme = choose_theme(session.read_settings().get("theme"))  # before Textual takes NO_COLOR away
        super().__init__(root, store_option)
        self.animation_level = "none"
        for mode in _SCREENS:
            self.add_mode(mode, partial(self._build_screen, mode))
        for known in THEMES:
            self.register_theme(known)
        self.theme = theme
        self.current_run_id: str | None = None
        self.current_study_id: str | None = None
        self._note_place(self._start_target)
        self._states: Mapping[str, RunState] | None = None
        self._studies: Sequence[StudyCount] = ()
        self._told_clashes: set[str] = set()
        self._moving = Lock()  # held while screens are put on each other or changed

    def on_mount(self) -> None:
        """Heed signals, and the keys that the person chose."""
        if not self.is_headless:
            heed_signals(self._end_by_signal)
        from cream_tui.shell.keymap import find_keys_file, read_keys

        path = find_keys_file()
        if path.is_file():
            from cream_tui.shell.key_list import list_keys

            chosen = read_keys(path, [key.binding_id for key in list_keys()])
            self.set_keymap(chosen.keys)
            for problem in chosen.problems:
                self.alert(problem, "warning")

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: DOMNode) -> None:
        """Tell once of a key that the person gave to one action and that another had."""
        for binding in clashed_bindings:
            if binding.id and binding.id not in self._told_clashes:
                self._told_clashes.add(binding.id)
                self.alert(f"keys.yaml: {binding.id} has lost its key {binding.key} to another action")

    def on_ready(self) -> None:
        """The first frame stands: from now on commits are noticed, and garbage is collected."""
        gc.freeze()  # what has been loaded stays: looking through it takes 20 ms each time
        gc.enable()
        self.link.start()

    def _end_by_signal(self, code: int) -> None:
        self.finish_writing()
        force_end(code)
        self.exit(code)

    def exit(self, *arguments: Any, **named: Any) -> None:
        """Remember the view while its screens are still there, then end."""
        self._save_view()
        super().exit(*arguments, **named)

    def on_unmount(self) -> None:
        """Remember the view and let go of the store."""
        self._save_view()
        self.finish_writing()
        self.link.close()

    def on_store_changed(self, event: StoreChanged) -> None:
        """Refresh the screen in front; tell of runs that ended since the last time."""
        before, self._states = self._states, event.states
        for run_id, run in list_ended(before, event.states):
            self._tell_end(describe_run_end(run_id, run), is_quiet=run.study is not None)
        for ended in list_ended_studies(self._studies, event.studies):
            self._tell_end(ended, is_quiet=False)
        self._studies = event.studies
        if isinstance(self.front, StoreScreen):
            self.front.follow()

    def on_warnings_found(self, event: WarningsFound) -> None:
        """Keep what newly warns in the inbox; one toast for all of it, where the run's own screen does not show it."""
        is_shown = self.current_run_id == event.run_id and self.current_mode in _SCREENS_WITH_WARNINGS
        for warning in reversed(event.warnings):
            self.keep_alert(tell_warning(event.name, warning), warning.severity, warning.target)
        if not is_shown and not event.is_quiet:
            more = f" (and {len(event.warnings) - 1} more: !)" if len(event.warnings) > 1 else ""
            self.toast(tell_warning(event.name, event.warnings[0]) + more, "warning")

    def on_store_fault(self, event: StoreFault) -> None:
        """Show the fault, or that it has gone."""
        self.store_fault = event.fault
        self.refresh_status()

    def refresh_screen(self) -> None:
        """Let the screen in front read anew."""
        if isinstance(self.front, StoreScreen):
            self.front.refresh_data()

    # Going somewhere -------------------------------------------------------------------------------------------------

    async def open_target(self, target: Target) -> None:
        """Go there."""
        async with self._moving:
            self._note_place(target)
            before, mode = self.current_mode, _TARGET_MODES[type(target)]
            while len(self.screen_stack) > 1:
                await self.pop_screen()
            await self.switch_mode(mode)
            screen = self.front
            if isinstance(screen, StoreScreen):
                screen.came_from = "study" if before == "study" != mode else "runs"
                screen.open_target(target)
                screen.refresh_data()

    def go_to(self, target: Target) -> None:
        """Go there, from a handler that does not wait."""
        self.run_worker(self.open_target(target), exit_on_error=True)

    async def show_mode(self, mode: str) -> None:
        """Bring a mode to the front as it was left, with the run that the list last pointed at."""
        async with self._moving:
            if len(self.screen_stack) == 1:
                await self.switch_mode(mode)
                self._save_view()

    async def action_mode(self, mode: str) -> None:
        """A digit."""
        await self.show_mode(mode)

    async def action_command_palette(self) -> None:  # type: ignore[override]
        """Open the palette; it looks for the screen below it, which must not change before it has."""
        async with self._moving:
            if not isinstance(self.screen, Palette):
                await self.push_screen(Palette(id="--command-palette"))

    def _build_screen(self, mode: str) -> Screen[Any]:
        module, name = _SCREENS[mode]
        screen: StoreScreen[Any, Any] = getattr(import_module(module), name)()
        views = self.view.get("screens")
        view = views.get(mode) if isinstance(views, dict) else None
        if isinstance(view, dict):
            screen.restore_view(view)
        if _TARGET_MODES[type(self._start_target)] == mode:
            screen.open_target(self._start_target)
        screen.read_ahead()
        return screen

    def _note_place(self, target: Target) -> None:
        if isinstance(target, (RunTarget, PairsTarget, HealthTarget)):
            self.current_run_id = target.run_id
        elif isinstance(target, (RunsTarget, StudyTarget)) and target.study_id is not None:
            self.current_study_id = target.study_id

    def _save_view(self) -> None:
        kept = self.view.get("screens")
        screens = dict(kept) if isinstance(kept, dict) else {}
        for mode, stack in self._screen_stacks.items():
            if stack and isinstance(stack[0], StoreScreen):
                screens[mode] = stack[0].save_view()
        place = {"run_id": self.current_run_id, "study_id": self.current_study_id}
        self.view = {"mode": self.current_mode, **place, "screens": screens}
        session.write_view(self.root, self.view)

    def _tell_end(self, ended: Alert, *, is_quiet: bool) -> None:
        """Tell that a run or a study ended; ``is_quiet``, of a study's runs: only failures, and without a bell."""
        if not is_quiet or ended.severity == "error":
            self.alert(ended.text, ended.severity, ended.target)
        if not is_quiet and self.settings.get("notify", True):
            self.bell()
            self.write_sequence(build_notice_sequence(f"cream-tui: {ended.text}"))

    def refresh_status(self) -> None:
        if isinstance(self.front, StoreScreen) and self.front.is_mounted:
            self.front.status_line.refresh()

    async def action_alerts(self) -> None:
        """Open the inbox."""
        from cream_tui.screens.help import AlertsScreen

        self.n_new_alerts = 0
        self.refresh_status()

        def follow(alert: Alert | None) -> None:
            if alert is not None and alert.target is not None:
                self.go_to(alert.target)

        await self.push_screen(AlertsScreen(tuple(self.alerts)), follow)

    async def action_help(self) -> None:
        """Open the help of this screen."""
        from cream_tui.screens.help import HelpScreen
        from cream_tui.shell.key_list import list_keys_of
        from cream_tui.shell.keymap import find_keys_file

        screen = self.front
        intro = screen.HELP if isinstance(screen, StoreScreen) else ""
        await self.push_screen(HelpScreen(intro, list_keys_of(self.screen), str(find_keys_file())))

    def action_copy(self) -> None:
        """Copy the thing under the cursor."""
        copied = self._get_copied()
        if copied is not None:
            self.copy(copied.text, copied.what)

    def action_copy_to_file(self) -> None:
        """Write the thing under the cursor to a file."""
        copied = self._get_copied()
        if copied is not None:
            saving.save_text(self, copied.text, copied.what)

    def _get_copied(self) -> Copied | None:
        copied = self.front.get_copy() if isinstance(self.front, StoreScreen) else None
        if copied is None:
            self.tell("nothing to copy here")
        return copied

    def action_copy_command(self) -> None:
        """Copy the command that shows the same."""
        words = self.front.get_command() if isinstance(self.front, StoreScreen) else None
        if words is None:
            self.tell("no command shows this")
        else:
            command = format_command(words, self.store_option)
            self.copy(command, "command")
            self.tell(command)

    def action_export(self) -> None:
        """Ask for a file and write what is shown."""
        saving.ask_and_export(self)

    def action_picture(self) -> None:
        """Save the view as SVG in the current folder."""
        saving.save_picture(self)

    def action_next_theme(self) -> None:
        """Take the next theme and remember it."""
        place = THEME_NAMES.index(self.theme) if self.theme in THEME_NAMES else -1
        self.choose_theme(THEME_NAMES[(place + 1) % len(THEME_NAMES)])

    def choose_theme(self, name: str) -> None:
        """Take a theme and remember it; without colours there is only one."""
        if self.no_color:
            name = ANSI_DARK
        self.theme = name
        self.settings["theme"] = name
        session.write_settings(self.settings)
        self.tell(f"theme {name}")

    def action_redraw(self) -> None:
        """Draw everything anew."""
        self.refresh(layout=True)
        self.refresh_screen()

    def set_notify(self, is_on: bool) -> None:
        self.settings["notify"] = is_on
        session.write_settings(self.settings)
        self.tell("runs that end ring the bell" if is_on else "runs that end are silent")
