"""The YAML loader: numbers as people write them, errors in one line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.yaml_loader import load_mapping, parse_yaml
from engine.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_000", 1000),
        ("1_000.5", 1000.5),
        ("010", 10),
        ("09", 9),
        ("0x1F", 31),
        ("-7", -7),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_", "1_"),
        ("1e", "1e"),
        ("e5", "e5"),
        ('"1e-4"', "1e-4"),
        (".inf", math.inf),
        ("-inf", -math.inf),
    ],
)
def test_scalars(text: str, value: object) -> None:
    parsed = parse_yaml(text, "here")
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", [".nan", "nan", ".NaN"])
def test_nan_parses(text: str) -> None:
    assert math.isnan(parse_yaml(text, "here"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4: the key 'c' stands here twice"),
        ("a: [1\nb: 2\n", "line 2: "),
        ("a: 1\n\tb: 2\n", "line 2: "),
        ("a: &x 1\nb: *x\n", "line 2: anchors and aliases"),
        ("1: 2\n", "line 1: the key 1 is no text"),
        ("? [a]\n: 2\n", "is no text"),
        ("a: !!int x\n", "line 1: 'x' is no whole number"),
        ("a: !!bool x\n", "neither true nor false"),
        ("a: " + "9" * 5000, "is no whole number"),
        ("a: 0x" + "f" * 9000, "is no whole number"),
        ('a: "\\uD800"\n', "half a character"),
        ("a: !!python/object:os.system {}\n", "could not determine a constructor"),
        ("a: 1\nb: \x07\n", "line 2: holds a character"),
        ("[" * 5000, "nested too deeply"),
        ("a: !!timestamp x\n", "no valid YAML"),
    ],
)
def test_broken_text_is_one_line_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "run.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("run.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"- 1\n", "holds no mapping"),
        (b"text", "holds no mapping"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"a: 1\na: 2\n", "twice"),
    ],
)
def test_unusable_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_mapping(path)
    assert str(path) in caught.value.message


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_mapping(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_mapping(tmp_path)
    with pytest.raises(ConfigError):
        load_mapping(tmp_path / "a\0b")


def test_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: a\n")
    assert load_mapping(path) == {"name": "a"}


@given(st.text(alphabet=st.sampled_from("ab:1.e-_{}[]&*!?|>'\"\n #,~%@`\\<=\t0x\ud800\0"), max_size=40) | st.text())
def test_any_text_parses_or_is_a_config_error(text: str) -> None:
    try:
        parse_yaml(text, "fuzz")
    except ConfigError as error:
        assert error.message.startswith("fuzz")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_round_trips(number: float) -> None:
    assert parse_yaml(repr(number), "here") == number
