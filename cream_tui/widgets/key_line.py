"""The keys that count now, in one line; what does not fit is left to the help.

Knows bindings. Must not know what they do. One widget where Textual's footer has one for each key: those took a fifth
of the time to the first frame, and were made anew with every change of focus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from cream_tui.shell.key_names import name_key

_KEPT = ("app.help", "app.back")
_GAP = 2


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key as the line shows it, the key itself, and whether it stays where there is little room."""

    text: str
    description: str
    key: str
    is_kept: bool

    @property
    def width(self) -> int:
        """Columns of both, with the space between them."""
        return len(self.text) + 1 + len(self.description)


class KeyLine(Static):
    """The shown bindings of the screen, of what has the focus, and of the app; a click does the same as the key."""

    def __init__(self) -> None:
        super().__init__(id="key-line")
        self._keys: tuple[ShownKey, ...] = ()

    def on_mount(self) -> None:
        """Follow the focus, and which actions can be done."""
        self.screen.bindings_updated_signal.subscribe(self, self._follow)

    def render(self) -> Content:
        """As many as there is room for; the help, and a way out where it is shown, are always among them."""
        parts: list[tuple[str, str] | str] = []
        for shown in self._list_fitting():
            parts += [(shown.text, "$footer-key-foreground bold"), f" {shown.description}", " " * _GAP]
        return Content.assemble(*parts)

    def on_click(self, event: Any) -> None:
        """Press the key under the pointer."""
        start = 0
        for shown in self._list_fitting():
            if start <= event.x < start + shown.width:
                self.app.simulate_key(shown.key)
                return
            start += shown.width + _GAP

    def _follow(self, screen: Screen[Any]) -> None:
        keys = tuple(self._list_keys(screen))
        if keys != self._keys:
            self._keys = keys
            self.refresh()

    def _list_keys(self, screen: Screen[Any]) -> list[ShownKey]:
        shown: dict[str, ShownKey] = {}
        for active in screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled and binding.action not in shown:
                text = name_key(binding.key).replace("ctrl+", "^")
                is_kept = binding.id in _KEPT
                shown[binding.action] = ShownKey(text, binding.description, binding.key, is_kept)
        return list(shown.values())

    def _list_fitting(self) -> list[ShownKey]:
        kept = [shown for shown in self._keys if shown.is_kept]
        room = self.size.width - sum(shown.width + _GAP for shown in kept)
        fitting: list[ShownKey] = []
        for shown in self._keys:
            if shown.is_kept:
                continue
            room -= shown.width + _GAP
            if room < -_GAP:
                break
            fitting.append(shown)
        return fitting + kept
