"""Reading logs on: what was added, what a progress bar left, what a rotation took away."""

from __future__ import annotations

from pathlib import Path

import pytest

from cream_tui.readers.log_tail import MOST_LINE_CHARACTERS, LogLine, LogSection, LogTail, RunLog, find_line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stage.log"


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def read(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    tail = LogTail(path)
    assert tail.read()
    return list(tail.lines)


def test_only_what_is_new_is_taken(path: Path) -> None:
    tail = LogTail(path)
    assert not tail.read()
    append(path, b"one\ntw")
    assert tail.read()
    assert list(tail.lines) == ["one", "tw"]
    append(path, b"o\nthree\n")
    assert tail.read()
    assert list(tail.lines) == ["one", "two", "three"]
    assert not tail.read()


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b" 1%\r 50%\r100%\ndone\n", ["100%", "done"]),
        (b" 1%\r 50%\r", [" 50%"]),
        (b" 1%\n\r 50%\n", [" 1%", " 50%"]),
        (b"dos\r\nline\r\n", ["dos", "line"]),
        (b"\r\r\n", [""]),
        (b"\n\n", ["", ""]),
    ],
)
def test_a_progress_bar_is_its_last_state(path: Path, content: bytes, lines: list[str]) -> None:
    assert read(path, content) == lines


def test_a_progress_bar_that_comes_in_pieces_is_one_line(path: Path) -> None:
    tail = LogTail(path)
    for piece in (b"head\n 1", b"%\r", b" 2%", b"\r100%\r", b"\n"):
        append(path, piece)
        tail.read()
    assert list(tail.lines) == ["head", "100%"]


def test_a_character_cut_in_two_is_whole(path: Path) -> None:
    tail = LogTail(path)
    for piece in (b"\xe2\x82", b"\xac\n"):
        append(path, piece)
        tail.read()
    assert list(tail.lines) == ["€"]


def test_what_a_terminal_would_obey_is_shown(path: Path) -> None:
    assert read(path, b"\x1b]52;c;Zm9v\a\n\x1b[2J\n\xc2\x9b31m\na\tb\n\xff\n") == [
        "␛]52;c;Zm9v␇",
        "␛[2J",
        "<U+009B>31m",
        "a   b",
        "�",
    ]


def test_a_truncated_file_is_read_anew(path: Path) -> None:
    path.write_bytes(b"old line\nanother\n")
    tail = LogTail(path)
    tail.read()
    path.write_bytes(b"new\n")
    assert tail.read()
    assert list(tail.lines) == ["new"]


def test_a_file_that_became_empty_shows_nothing(path: Path) -> None:
    path.write_bytes(b"old\n")
    tail = LogTail(path)
    tail.read()
    path.write_bytes(b"")
    assert tail.read()
    assert list(tail.lines) == []


def test_a_rotated_file_is_read_anew_whatever_its_size(path: Path) -> None:
    path.write_bytes(b"a\n")
    tail = LogTail(path)
    tail.read()
    other = path.with_name("other")
    other.write_bytes(b"longer than before\n")
    other.replace(path)
    assert tail.read()
    assert list(tail.lines) == ["longer than before"]


def test_of_a_long_file_the_end_is_kept(path: Path) -> None:
    path.write_bytes(b"".join(b"line %d\n" % n for n in range(10_000)))
    tail = LogTail(path, most_lines=100, most_bytes=10_000)
    tail.read()
    assert len(tail.lines) == 100
    assert tail.lines[-1] == "line 9999"
    assert tail.is_cut
    assert all(line.startswith("line ") for line in tail.lines)


def test_lines_that_leave_are_counted(path: Path) -> None:
    tail = LogTail(path, most_lines=3)
    for n in range(5):
        append(path, b"line %d\n" % n)
        tail.read()
    assert list(tail.lines) == ["line 2", "line 3", "line 4"]
    assert tail.first_number == 2


def test_a_long_line_is_cut(path: Path) -> None:
    (line,) = read(path, b"x" * 50_000 + b"\n")
    assert line == "x" * MOST_LINE_CHARACTERS + "…"


def test_an_endless_line_takes_bounded_memory(path: Path) -> None:
    tail = LogTail(path)
    for _ in range(50):
        append(path, b"x" * 10_000)
        tail.read()
    assert len(tail._open) <= MOST_LINE_CHARACTERS + 2
    assert list(tail.lines) == ["x" * MOST_LINE_CHARACTERS + "…"]


def section(path: Path | None, key: str = "1", **changes: object) -> LogSection:
    values = {"key": key, "head": f"train M{key}", "path": path, **changes}
    return LogSection(**values)  # type: ignore[arg-type]


def texts(log: RunLog) -> list[str]:
    return [line.text for line in log.lines]


def test_sections_stand_one_after_another(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text("a\n")
    log = RunLog()
    assert log.read([section(first)]) == 0
    second.write_text("b\n")
    assert log.read([section(first, foot="done"), section(second, "2")]) == 2
    assert texts(log) == ["train M1", "a", "done", "train M2", "b"]
    append(second, b"c\n")
    assert log.read([section(first, foot="done"), section(second, "2")]) == 5
    assert log.read([section(first, foot="done"), section(second, "2")]) is None


def test_a_section_without_a_file_has_its_head_and_foot(tmp_path: Path) -> None:
    log = RunLog()
    log.read([section(None, foot="failed: out of memory\nsmaller batches help", is_bad=True)])
    assert [(line.text, line.kind) for line in log.lines] == [
        ("train M1", "head"),
        ("failed: out of memory", "error"),
        ("smaller batches help", "error"),
    ]


def test_what_came_before_the_foot_is_read_once_more(tmp_path: Path) -> None:
    """The last lines and the end of a stage come in one tick."""
    path = tmp_path / "1"
    path.write_text("a\n")
    log = RunLog()
    log.read([section(path)])
    append(path, b"last words\n")
    log.read([section(path, foot="failed")])
    assert texts(log) == ["train M1", "a", "last words", "failed"]


@pytest.mark.parametrize(
    ("text", "start", "direction", "found"),
    [
        ("loss", 0, 1, 0),
        ("loss", 1, 1, 2),
        ("LOSS", 3, 1, 0),
        ("loss", 1, -1, 0),
        ("loss", -1, -1, 2),
        ("absent", 0, 1, None),
    ],
)
def test_search_goes_both_ways_and_around_the_ends(text: str, start: int, direction: int, found: int | None) -> None:
    lines = [LogLine("loss 1"), LogLine("other"), LogLine("LOSS 2")]
    assert find_line(lines, text, start, direction) == found
    assert find_line([], text, start, direction) is None
