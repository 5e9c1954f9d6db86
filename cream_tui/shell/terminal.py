"""Sequences that a terminal obeys: copying and notifying. The only place of the app that writes any of its own.

Knows OSC 52 and OSC 9, and how tmux wants them wrapped. Must not know what is copied.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping

from cream_tui.text import make_visible

# Terminals cut or drop longer sequences; 74 KB of text is what xterm's limit of 100,000 encoded characters leaves.
MOST_COPIED_BYTES = 74_000


def build_copy_sequence(text: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """OSC 52 with the text; None where it is too long for a terminal."""
    content = text.encode("utf-8", errors="replace")
    if len(content) > MOST_COPIED_BYTES:
        return None
    return _wrap(f"\x1b]52;c;{base64.b64encode(content).decode('ascii')}\a", environment)


def build_notice_sequence(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """OSC 9: a desktop notification, where the terminal has them."""
    return _wrap(f"\x1b]9;{make_visible(text)}\a", environment)


def _wrap(sequence: str, environment: Mapping[str, str]) -> str:
    """As tmux passes it on (``set -g allow-passthrough on``)."""
    if not environment.get("TMUX"):
        return sequence
    return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
