"""The command palette: every action of the screen with its key, every run and study, every metric of the run in front.

Knows bindings and the store's runs. Must not know what an action does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from textual.await_complete import AwaitComplete
from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.css.styles import RenderStyles
from textual.screen import Screen

from cream_tui.shell.themes import THEME_NAMES
from cream_tui.targets import RunsTarget, RunTarget
from cream_tui.text import make_visible

if TYPE_CHECKING:
    from cream_tui.app import CreamApp

_MOST_RUNS = 50
Entry: TypeAlias = tuple[str, str, str]


class Palette(CommandPalette):
    """Textual's palette; keys that are typed faster than it opens, lays out its list or closes change nothing."""

    def dismiss(self, result: Any = None) -> AwaitComplete:
        """Close, unless it is closed already."""
        if self.is_active:
            return super().dismiss(result)
        return AwaitComplete.nothing()  # type: ignore[no-untyped-call, no-any-return]

    def get_component_styles(self, *names: str) -> RenderStyles:
        """Those of a part; once it is closed, and still gathers, there are none of parts."""
        try:
            return super().get_component_styles(*names)
        except KeyError:
            return self.styles

    def _action_command_list(self, action: str) -> None:
        with suppress(KeyError, IndexError):
            super()._action_command_list(action)


class ActionsProvider(Provider):
    """What keys do here; an entry teaches its key."""

    def _list(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        from cream_tui.shell.key_names import name_key

        seen: set[str] = set()
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if not binding.id or not binding.description or binding.id in seen or not active.enabled:
                continue
            seen.add(binding.id)
            run = partial(self.app.run_action, binding.action, default_namespace=active.node)
            yield f"{binding.description}  [{name_key(binding.key)}]", binding.id, run

    async def discover(self) -> Hits:
        """All actions."""
        for title, name, run in self._list():
            yield DiscoveryHit(_as_text(title), run, text=title, help=_as_text(name))

    async def search(self, query: str) -> Hits:
        """Actions that match."""
        matcher = self.matcher(query)
        for title, name, run in self._list():
            score = matcher.match(title)
            if score > 0:
                yield Hit(score, _as_text(title), run, text=title, help=_as_text(name))


class RunsProvider(Provider):
    """Runs by name, id and tag, and studies by name."""

    async def search(self, query: str) -> Hits:
        """Runs that match, the newest first among equals."""
        matcher = self.matcher(query)
        n_found = 0
        runs, studies = await self._read()
        for study_id, name, detail in studies:
            title = f"Study {make_visible(name)}"
            score = max(matcher.match(title), matcher.match(study_id))
            if score > 0:
                go = partial(cast("CreamApp", self.app).go_to, RunsTarget(study_id=study_id))
                yield Hit(score, _as_text(title), go, text=title, help=_as_text(detail))
        for run_id, name, detail in runs:
            title = f"Run {make_visible(name)}"
            score = max(matcher.match(title), matcher.match(f"{run_id} {detail}"))
            if score > 0 and n_found < _MOST_RUNS:
                n_found += 1
                go = partial(cast("CreamApp", self.app).go_to, RunTarget(run_id))
                yield Hit(score, _as_text(title), go, text=title, help=_as_text(make_visible(detail)))

    async def _read(self) -> tuple[list[Entry], list[Entry]]:
        from asyncio import to_thread

        return await to_thread(read_entries, cast("CreamApp", self.app))


class SettingsProvider(Provider):
    """Themes, and whether runs that end make themselves heard."""

    def _list(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        app = cast("CreamApp", self.app)
        for name in THEME_NAMES:
            yield f"Theme {name}", "Change the colours", partial(app.choose_theme, name)
        is_on = bool(app.settings.get("notify", True))
        title = "Bell and notification when a run ends: " + ("switch off" if is_on else "switch on")
        yield title, "For all stores", partial(app.set_notify, not is_on)

    async def search(self, query: str) -> Hits:
        """Settings that match."""
        matcher = self.matcher(query)
        for title, detail, run in self._list():
            score = matcher.match(title)
            if score > 0:
                yield Hit(score, _as_text(title), run, text=title, help=_as_text(detail))


class ScreenProvider(Provider):
    """What the screen in front adds: metrics, presets, columns."""

    def _list(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        front: Screen[Any] | None = cast("CreamApp", self.app).front
        list_commands = getattr(front, "list_palette", None)
        if list_commands is not None:
            yield from list_commands()

    async def search(self, query: str) -> Hits:
        """Entries that match."""
        matcher = self.matcher(query)
        for title, detail, run in self._list():
            title = make_visible(title)
            score = matcher.match(title)
            if score > 0:
                yield Hit(score, _as_text(title), run, text=title, help=_as_text(make_visible(detail)))


def read_entries(app: CreamApp) -> tuple[list[Entry], list[Entry]]:
    """Id, name and a few facts of every run and every study, the newest first; none where the store cannot be read."""
    from db.errors import StoreError
    from db.reading import fetch_rows
    from db.studies import count_study_runs

    try:
        with app.reader() as connection:
            if connection is None:
                return [], []
            studies = list(reversed(count_study_runs(connection)))
            rows = fetch_rows(
                connection,
                "SELECT r.run_id, r.name, r.method, r.seed, r.state, group_concat(t.tag, ' ') AS tags FROM run r "
                "LEFT JOIN run_tag t ON t.run_id = r.run_id GROUP BY r.run_id ORDER BY r.created_at DESC",
            )
    except StoreError:
        return [], []
    counts = [(s.study_id, s.name, f"{s.n_done} of {s.n_runs} runs done") for s in studies]
    runs = [(r[0], r[1], f"{r[2]}, seed {r[3]}, {r[4]}" + (f", {r[5]}" if r[5] else "")) for r in rows]
    return runs, counts


def _as_text(title: str) -> Any:
    """A title in which nothing is markup."""
    from textual.content import Content

    return Content(title)


PROVIDERS: set[type[Provider] | Callable[[], type[Provider]]] = {
    SettingsProvider,
    ActionsProvider,
    RunsProvider,
    ScreenProvider,
}
