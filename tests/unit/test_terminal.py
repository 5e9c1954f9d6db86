"""The sequences that the app writes, decoded as a terminal would."""

from __future__ import annotations

import base64
import re

import pytest

from cream_tui.shell.terminal import MOST_COPIED_BYTES, build_copy_sequence, build_notice_sequence

BARE: dict[str, str] = {}
TMUX = {"TMUX": "/run/tmux,1,0"}


def decode(sequence: str) -> str:
    found = re.fullmatch(r"\x1b\]52;c;([A-Za-z0-9+/=]*)\x07", sequence)
    assert found is not None
    return base64.b64decode(found[1]).decode()


@pytest.mark.parametrize("text", ["", "plain", "zwölf\n\x1b]52;c;evil\x07", "日本\U0001f600"])
def test_a_text_is_copied_as_it_is(text: str) -> None:
    sequence = build_copy_sequence(text, BARE)
    assert sequence is not None and decode(sequence) == text


def test_tmux_gets_its_escapes_doubled() -> None:
    sequence = build_copy_sequence("x", TMUX)
    assert sequence is not None
    found = re.fullmatch(r"\x1bPtmux;(.*)\x1b\\", sequence, re.DOTALL)
    assert found is not None and decode(found[1].replace("\x1b\x1b", "\x1b")) == "x"


def test_what_a_terminal_would_cut_is_not_sent() -> None:
    assert build_copy_sequence("a" * MOST_COPIED_BYTES, BARE) is not None
    assert build_copy_sequence("a" * (MOST_COPIED_BYTES + 1), BARE) is None
    assert build_copy_sequence("ä" * (MOST_COPIED_BYTES // 2 + 1), BARE) is None


def test_a_lone_surrogate_does_not_break_the_copy() -> None:
    sequence = build_copy_sequence("a\ud800b", BARE)
    assert sequence is not None and decode(sequence) == "a?b"


def test_a_notice_holds_nothing_that_a_terminal_obeys() -> None:
    inner = build_notice_sequence("run a\x07\x1b[2Jb\n is done", BARE).removeprefix("\x1b]9;").removesuffix("\x07")
    assert "\x1b" not in inner and "\x07" not in inner and "\n" not in inner
    assert inner == "run a␇␛[2Jb⏎ is done"
