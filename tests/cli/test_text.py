"""What a terminal may get: make_visible itself, and the tables of every command on hostile text."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recording import DANGEROUS, NASTY

from cream_tui.text import make_visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ümlaut 数 😀", "plain ümlaut 数 😀"),
        ("\x1b[2J", "␛[2J"),
        ("\x1b]52;c;cm0=\x07", "␛]52;c;cm0=␇"),
        ("\x9b31m", "<U+009B>31m"),
        ("\x7f\x00\r", "␡␀␍"),
        ("a\u202eb\u2066c", "a<U+202E>b<U+2066>c"),
        ("a\u200bb\ufeff\u00ad", "a<U+200B>b<U+FEFF><U+00AD>"),
        ("a\nb\tc", "a⏎b⇥c"),
        ("\u2028\U000e0041\ud800", "<U+2028><U+E0041><U+D800>"),
        ("[bold]x[/]", "[bold]x[/]"),
    ],
)
def test_make_visible(text: str, shown: str) -> None:
    assert make_visible(text) == shown


def test_newlines_and_tabs_are_kept_where_asked() -> None:
    assert make_visible("a\nb\tc\r\n", keep_newlines=True, keep_tabs=True) == "a\nb\tc␍\n"


@given(st.text(st.characters()))
def test_nothing_that_acts_is_left(text: str) -> None:
    shown = make_visible(text)
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in shown)
    assert make_visible(shown) == shown
    assert all(sign not in shown for sign in DANGEROUS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls",),
        ("ls", "--json"),
        ("show", "latest"),
        ("show", "a"),
        ("show", "a", "--json"),
        ("pairs", "a", "--limit", "0"),
        ("pairs", "a", "--json"),
        ("compare", "a", "other"),
        ("compare", "a", "other", "--json"),
        ("watch", "a"),
        ("resume", "a"),
        ("stop", "a"),
        ("doctor",),
        ("export", "a\x1b[2J-none"),
        ("ls", "--state", "\x1b[2J"),
        ("\x1b[2J",),
    ],
)
def test_no_command_lets_hostile_text_through(call: Callable, nasty_root: Path, arguments: tuple[str, ...]) -> None:
    called = call(*arguments, env={"CREAM_STORE": str(nasty_root)})
    for stream in (called.stdout, called.stderr):
        assert [sign for sign in DANGEROUS if sign in stream] == []
    assert called.stdout or called.stderr


def test_markup_is_text(call: Callable, nasty_root: Path) -> None:
    called = call("pairs", "a", "--limit", "0", "--store", str(nasty_root))
    assert "[bold red]markup[/]" in called.stdout


def test_json_keeps_the_text_exactly(call: Callable, nasty_root: Path) -> None:
    pairs = json.loads(call("pairs", "a", "--limit", "0", "--json", "--store", str(nasty_root)).stdout)
    assert {pair["chosen"] for pair in pairs} <= set(NASTY)
    assert any("\x1b" in pair["chosen"] for pair in pairs)


def test_export_to_a_terminal_is_made_visible(
    call: Callable, nasty_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cream_tui.output.is_terminal", lambda: True)
    called = call("export", "a", "--store", str(nasty_root))
    assert [sign for sign in DANGEROUS if sign in called.stdout] == []
    assert "␛[2J" in called.stdout
