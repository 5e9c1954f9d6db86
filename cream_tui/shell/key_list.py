"""All keys of the app with the ids by which keys.yaml names them.

Knows bindings. Must not know what an action does.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen

from cream_tui.screens.help import KeyHelp
from cream_tui.shell.key_names import name_key

_EVERYWHERE = "Everywhere"
_OWN_PACKAGES = ("cream_tui.",)


def list_keys() -> list[KeyHelp]:
    """The keys of every screen and widget of the app; imports them all."""
    from cream_tui.app import _SCREENS, CreamApp

    classes: list[type] = [getattr(import_module(module), name) for module, name in _SCREENS.values()]
    classes += _list_widget_classes()
    found = [key for kind in classes for key in _list_class_keys(kind)] + _list_class_keys(CreamApp)
    return list({key.binding_id: key for key in found}.values())


def list_keys_of(screen: Screen[Any]) -> list[KeyHelp]:
    """The keys that count on this screen as they are set now, those that count everywhere last."""
    nodes: list[DOMNode] = [screen, *screen.query("*").results(), screen.app]
    found: dict[str, KeyHelp] = {}
    for node in nodes:
        section = _name_section(type(node))
        as_chosen = node._bindings.copy()
        as_chosen.apply_keymap(screen.app._keymap)
        for key, bindings in as_chosen.key_to_bindings.items():
            for binding in bindings:
                if not binding.id or not binding.description:
                    continue
                known = found.get(binding.id)
                keys = name_key(key) if known is None else f"{known.keys} {name_key(key)}"
                if known is None or name_key(key) not in known.keys.split():
                    where = _EVERYWHERE if binding.id.startswith("app.") else section
                    found[binding.id] = KeyHelp(where, keys, binding.description, binding.id)
    order = dict.fromkeys(key.section for key in found.values())
    sections = [*(name for name in order if name != _EVERYWHERE), _EVERYWHERE]
    return sorted(found.values(), key=lambda key: sections.index(key.section))


def _list_class_keys(kind: type) -> list[KeyHelp]:
    bindings: Iterable[Any] = kind.__dict__.get("BINDINGS", ())
    return [
        KeyHelp(
            _EVERYWHERE if binding.id.startswith("app.") else _name_section(kind),
            " ".join(name_key(key) for key in binding.key.split(",")),
            binding.description,
            binding.id,
        )
        for binding in bindings
        if isinstance(binding, Binding) and binding.id
    ]


def _list_widget_classes() -> list[type]:
    """Classes of our own that Textual knows by now, the screens' modules being imported."""
    from textual.widget import Widget

    found: list[type] = []
    waiting: list[type] = [Widget]
    while waiting:
        children: list[type] = waiting.pop().__subclasses__()
        for kind in children:
            waiting.append(kind)
            if kind.__module__.startswith(_OWN_PACKAGES):
                found.append(kind)
    return found


def _name_section(kind: type) -> str:
    """RunsScreen is Runs, PairList is Pair list."""
    name = kind.__name__.removesuffix("Screen")
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
    return words[:1].upper() + words[1:]
