"""Exports: round trips through pandas and datasets, and files that are whole or not there."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest
from recording import NASTY

from cream_tui.export_formats import encode_csv, write_whole
from db.exports import EXPORT_COLUMNS, iterate_export
from db.queries import find_run, open_reader


def read_raw(root: Path, what: str) -> list[tuple]:
    connection = open_reader(root)
    try:
        return list(iterate_export(connection, what, find_run(connection, "a")))
    finally:
        connection.close()


@pytest.mark.parametrize("what", sorted(EXPORT_COLUMNS))
def test_csv_round_trips_through_pandas(call: Callable, nasty_root: Path, tmp_path: Path, what: str) -> None:
    file = tmp_path / "rows.csv"
    assert call("export", "a", "--what", what, "-o", str(file), "--store", str(nasty_root)).code == 0
    raw = read_raw(nasty_root, what)
    table = pd.read_csv(file, keep_default_na=False, dtype=str)
    assert list(table.columns) == list(EXPORT_COLUMNS[what])
    assert len(table) == len(raw) > 0
    for row, values in zip(raw, table.itertuples(index=False), strict=True):
        for value, text in zip(row, values, strict=True):
            expected = "" if value is None else repr(value) if isinstance(value, float) else str(value)
            assert text == expected


def test_numbers_keep_full_precision(call: Callable, nasty_root: Path) -> None:
    called = call("export", "a", "--what", "rewards", "--store", str(nasty_root))
    table = pd.read_csv(io.StringIO(called.stdout), keep_default_na=False)
    assert 0.1 + 0.2 in set(table["score"])


def test_csv_is_rfc_4180_in_bytes(spawn: Callable, nasty_root: Path) -> None:
    done = spawn("export", "a", "--store", str(nasty_root))
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("utf-8")
    assert text.split("\r\n")[0] == ",".join(EXPORT_COLUMNS["pairs"])
    assert text.endswith("\r\n")
    assert '"NA, ""quoted""\r\nline\nend "' in text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert {row["chosen"] for row in rows} - {""} == {text for text in NASTY[:3] if text}
    assert {row["chosen_correct"] for row in rows} == {"True", ""}


def test_bare_export_is_the_pairs_of_the_latest_run(call: Callable, store_root: Path) -> None:
    bare = call("export", env={"CREAM_STORE": str(store_root)})
    asked = call("export", "demo-cream", "--what", "pairs", "--format", "csv", "--store", str(store_root))
    assert bare.code == asked.code == 0
    assert bare.stdout == asked.stdout
    assert len(list(csv.reader(io.StringIO(bare.stdout)))) == 9  # a head, and 2 iterations of 4 prompts


def test_all_runs_are_exported_where_none_is_named(call: Callable, store_root: Path) -> None:
    called = call("export", "--what", "runs", "--format", "jsonl", "--store", str(store_root))
    runs = [json.loads(line) for line in called.stdout.splitlines()]
    assert [run["name"] for run in runs] == ["demo-srlm", "demo-cream"]
    assert runs[0]["tags"] == ["demo"]


def test_pairs_as_jsonl_are_preferences_that_datasets_loads(call: Callable, nasty_root: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    file = tmp_path / "pairs.jsonl"
    assert call("export", "a", "-o", str(file), "--store", str(nasty_root)).code == 0
    assert list(json.loads(file.read_text().split("\n")[0]))[:3] == ["prompt", "chosen", "rejected"]
    loaded = load_dataset("json", data_files=str(file), cache_dir=str(tmp_path / "cache"), split="train")
    raw = [dict(zip(EXPORT_COLUMNS["pairs"], row, strict=True)) for row in read_raw(nasty_root, "pairs")]
    kept = [row for row in raw if row["skip_reason"] is None]
    assert len(loaded) == len(kept) == 6
    for row, record in zip(kept, loaded, strict=True):
        assert record == {name: value for name, value in row.items() if name != "skip_reason"}


def test_lists_are_lists_in_jsonl_and_text_in_csv(call: Callable, store_root: Path) -> None:
    arguments = ("export", "--what", "responses", "--store", str(store_root))
    first = json.loads(call(*arguments, "--format", "jsonl").stdout.splitlines()[0])
    assert first["token_ids"] == [5, 0]
    assert json.loads(next(csv.DictReader(io.StringIO(call(*arguments).stdout)))["token_ids"]) == [5, 0]


def test_an_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    target.write_text("old")
    target.chmod(0o640)

    def fail_in_the_middle() -> Iterator[str]:
        yield "new"
        raise RuntimeError("the store went away")

    with pytest.raises(RuntimeError):
        write_whole(target, fail_in_the_middle())
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    write_whole(target, ["new"])
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link_and_a_pipe_is_written_in_place(tmp_path: Path) -> None:
    target, link = tmp_path / "rows.csv", tmp_path / "link.csv"
    target.write_text("old")
    link.symlink_to(target)
    write_whole(link, ["new"])
    assert link.is_symlink()
    assert target.read_text() == "new"
    write_whole(Path("/dev/null"), ["new"])
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("target", ["", "none/rows.csv"])
def test_a_target_that_cannot_be_written_is_named(
    call: Callable, store_root: Path, tmp_path: Path, target: str
) -> None:
    called = call("export", "-o", str(tmp_path / target), "--store", str(store_root))
    assert called.code == 2
    assert str(tmp_path) in called.stderr
    assert called.stderr.count("error: ") == 1
    assert called.stderr.endswith("Name another file with -o.\n")


def test_a_reader_that_leaves_early_ends_it_quietly(store_root: Path) -> None:
    """The exporter's stdout is a pipe whose reader is gone before a word is written."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cream_tui", "export", "--what", "rewards", "--store", str(store_root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    stderr = process.stderr.read()
    assert process.wait(timeout=60) == 0
    assert stderr == b""


def test_an_empty_csv_still_has_its_head() -> None:
    assert list(encode_csv(("a", "b"), [])) == ["a,b\r\n"]


def test_a_missing_folder_is_named_by_the_file_that_was_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "nowhere" / "x.csv"
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(target, ["a"])
    assert caught.value.filename == str(target)


@pytest.mark.parametrize("what", sorted(EXPORT_COLUMNS))
def test_parquet_holds_what_csv_holds_with_types(call: Callable, nasty_root: Path, tmp_path: Path, what: str) -> None:
    """The raw rows are the oracle: flags, numbers, times and lists come back as such, a missing value as null."""
    file = tmp_path / "rows.parquet"
    assert call("export", "a", "--what", what, "-o", str(file), "--store", str(nasty_root)).code == 0
    raw, table = read_raw(nasty_root, what), pyarrow.parquet.read_table(file)
    assert table.column_names == list(EXPORT_COLUMNS[what])
    assert [tuple(map(to_python, row.values())) for row in table.to_pylist()] == [
        tuple(parse_list(name, value) for name, value in zip(table.column_names, row, strict=True)) for row in raw
    ]
    types = {str(field.type) for field in table.schema if field.name in ("score", "margin", "at", "correct", "tags")}
    assert types <= {"double", "timestamp[us, tz=UTC]", "bool", "list<element: string>"}
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def to_python(value: object) -> object:
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def parse_list(name: str, value: object) -> object:
    return json.loads(str(value)) if name in ("tags", "token_ids", "prompt_token_ids") and value is not None else value


def test_parquet_needs_a_file(call: Callable, nasty_root: Path, tmp_path: Path) -> None:
    called = call("export", "a", "--format", "parquet", "--store", str(nasty_root))
    assert called.code == 2 and "Name a file: -o pairs.parquet." in called.stderr
    called = call("export", "a", "-o", str(tmp_path / "none" / "a.parquet"), "--store", str(nasty_root))
    assert called.code == 2 and f"there is no folder {tmp_path / 'none'}\n" in called.stderr
