"""The one function that untrusted text passes before it reaches a terminal.

Knows Unicode. Must not know where a text comes from: whatever a model, a data set, a log or a name holds is untrusted.
"""

from __future__ import annotations

import re

# What a terminal obeys or hides instead of printing: C0 but newline and tab, DEL, C1, bidirectional controls, zero
# width characters, line and paragraph separators, tags, other format characters, and lone surrogates (which no
# encoding takes).
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff\ud800-\udfff]"
)
_NEWLINE_OR_TAB = re.compile("[\n\t]")


def make_visible(text: str, *, keep_newlines: bool = False, keep_tabs: bool = False) -> str:
    """The text with every character that a terminal would obey or hide replaced by a visible symbol.

    C0 characters and DEL become their control pictures (ESC is ␛), all others their code point, as <U+202E>. Newlines
    and tabs become ⏎ and ⇥ unless kept.
    """
    text = _UNSAFE.sub(_show, text)
    if not (keep_newlines and keep_tabs):
        text = _NEWLINE_OR_TAB.sub(
            lambda found: found[0] if (keep_newlines if found[0] == "\n" else keep_tabs) else _show(found), text
        )
    return text


def _show(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if character == "\n":
        return "⏎"
    if character == "\t":
        return "⇥"
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"<U+{code:04X}>"
