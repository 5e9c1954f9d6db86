"""Keys as a person calls them. Pure."""

from __future__ import annotations

_NAMES = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "slash": "/",
    "dollar_sign": "$",
    "number_sign": "#",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_parenthesis": "(",
    "right_parenthesis": ")",
    "plus": "+",
    "minus": "-",
    "equals_sign": "=",
    "comma": ",",
    "full_stop": ".",
    "semicolon": ";",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "escape": "esc",
    "backspace": "⌫",
}


def name_key(key: str) -> str:
    """A key as a person calls it: question_mark is ?."""
    *modifiers, name = key.split("+") if key != "+" else ["+"]
    return "+".join([*modifiers, _NAMES.get(name, name)])
