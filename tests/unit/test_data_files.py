"""Rows of every kind of file, columns under other names, chat shapes, and the shares of the iterations."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cream_tui.cli import run_command
from engine.config.data import DataConfig, SourceConfig
from engine.config.load import check_files, load_run_config
from engine.errors import ConfigError, TaskError
from engine.plan import Segment, plan_run
from engine.records import Message
from engine.tasks.check import DataReport, describe_data
from engine.tasks.evaluation import read_evaluation_files
from engine.tasks.files import read_rows
from engine.tasks.shares import count_contamination, share_prompts
from engine.tasks.sources import build_prompt, parse_examples, parse_prompts, read_source_rows, verify

ROWS = [
    {"question": "1 + 1?", "meta": {"gold": "2"}},
    {"question": 'say "a,b"\nand ünder', "meta": {"gold": "a, b"}},
]


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def write_json_list(path: Path) -> None:
    path.write_text(json.dumps(ROWS))


def write_json_by_name(path: Path) -> None:
    path.write_text(json.dumps({f"uuid-{k}": row for k, row in enumerate(ROWS)}))


def write_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", write_jsonl),
        ("a.json", write_json_list),
        ("b.json", write_json_by_name),
        ("a.parquet", write_parquet),
    ],
)
def test_every_format_gives_the_same_prompts(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    source = SourceConfig.model_validate(
        {"path": str(tmp_path / name), "columns": {"prompt": "question", "answer": "meta.gold"}}
    )
    prompts = parse_prompts(read_source_rows(source, "data.prompts"))
    assert [(prompt.text, prompt.answer) for prompt in prompts] == [
        ("1 + 1?", "2"),
        ('say "a,b"\nand ünder', "a, b"),
    ]


@pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("tsv", "\t")])
def test_separated_values_are_read_as_rfc_4180_quotes_them(tmp_path: Path, ending: str, separator: str) -> None:
    path = tmp_path / f"a.{ending}"
    lines = ["prompt,answer", '"say ""a,b""', 'twice",5', '"no answer",', "plain,007"]
    path.write_bytes(("\ufeff" + "\r\n".join(lines)).replace(",", separator).encode())
    prompts = parse_prompts(read_rows(path))
    assert [(p.text, p.answer) for p in prompts] == [
        (f'say "a{separator}b"\r\ntwice', "5"),
        ("no answer", None),
        ("plain", "007"),
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: Any) -> None:
    """Python's own writer as the oracle; surrogates and NUL have no UTF-8 or CSV form."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    rows = [[cell.replace("\0", "").encode("utf-8", "ignore").decode() for cell in row] for row in rows]
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["prompt", "answer"], *rows])
    assert [[row["prompt"] or "", row["answer"] or ""] for _, row in read_rows(path)] == rows


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "prompt,prompt\nx,y\n", "line 1: the header has two columns named 'prompt'"),
        ("a.csv", "prompt,\nx,y\n", "line 1: the header has a column without a name"),
        ("a.csv", "prompt,answer\nx\n", "line 2: 1 fields, and the header has 2"),
        ("a.csv", 'prompt\n"open\n', "line 2: unexpected end of data"),
        ("a.csv", "prompt\n", "holds no rows"),
        ("a.json", "[1]", "item 1: expected an object, found int"),
        ("a.json", '{"a": "b"}', "item 'a': expected an object, found str"),
        ("a.json", "3", "expected a list or an object of rows, found int"),
        ("a.json", '[{"prompt": "x"},\n{"prompt": ]', "not valid JSON: Expecting value at column 12 of line 2"),
        ("a.json", '[{"prompt": "\\ud800"}]', "half a surrogate pair"),
        ("a.json", "[]", "holds no rows"),
        ("a.parquet", "no parquet", "not readable as Parquet"),
    ],
)
def test_a_broken_file_is_named_with_the_place(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TaskError) as caught:
        read_rows(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and words in str(caught.value)


def test_a_column_that_is_not_there_is_named_with_row_and_setting(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl")
    source = SourceConfig.model_validate({"path": str(tmp_path / "a.jsonl"), "columns": {"prompt": "meta.text"}})
    with pytest.raises(TaskError, match=r"a\.jsonl, line 1: no column meta\.text, which data\.sft\.columns\.prompt"):
        read_source_rows(source, "data.sft")
    with pytest.raises(TaskError, match=r"line 1: neither prompt nor messages \(keys found: meta, question\)"):
        parse_prompts(read_rows(tmp_path / "a.jsonl"))


def test_chats_of_the_common_shapes_are_one(tmp_path: Path) -> None:
    turns = (Message("user", "hi"),)
    shapes: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
        {"prompt": [{"role": "user", "content": "hi"}], "response": "hello"},
        {"prompt": "hi", "response": "hello"},
    ]
    examples = parse_examples([(str(k), row) for k, row in enumerate(shapes)])
    assert {(example.messages, example.response) for example in examples} == {(turns, "hello")}
    with pytest.raises(TaskError, match="row 7: the role of a message is one of system, user, assistant, not 'tool'"):
        parse_prompts([("row 7", {"conversations": [{"from": "tool", "value": "x"}]})])


def write_authors_folder(folder: Path) -> None:
    """The layout and names of the authors' localdata: dialogues by name, a prompt file for each iteration."""
    folder.mkdir()
    dialogues = {
        f"u{k}": [{"role": "user", "content": f"q{k}"}, {"role": "assistant", "content": f"a{k}"}] for k in range(4)
    }
    (folder / "oasst1.sft.json").write_text(json.dumps(dialogues))
    for t in (1, 2):
        asked = {f"u{t}{k}": [{"role": "user", "content": f"{t if k else 1} and {k}"}] for k in range(5)}
        (folder / f"prompt.{t}.json").write_text(json.dumps(asked))
    items = [{"uuid": "t0", "prompt": "1  AND 3", "answer": "4"}, {"uuid": "t1", "prompt": "new", "answer": "5"}]
    (folder / "test.json").write_text(json.dumps(items))


def build_authors_config(folder: Path, *more: str) -> Any:
    return load_run_config(
        "sandbox",
        overrides=[
            *("iterations=2", f"data.sft={folder / 'oasst1.sft.json'}", "data.prompts_per_iteration=4"),
            *(f"data.prompts={folder}/prompt.{{t}}.json", f"evaluation.tasks=[{folder / 'test.json'}]", *more),
        ],
    )


def test_the_authors_layout_gives_each_iteration_its_file(tmp_path: Path) -> None:
    """Prompt "1 and 0" stands in both files: the second iteration leaves it out, and counts it."""
    write_authors_folder(tmp_path / "localdata")
    config = build_authors_config(tmp_path / "localdata")
    check_files(config)
    shares = share_prompts(config.data, lambda source: read_source_rows(source, "data.prompts"), iterations=2)
    assert {prompt.text for prompt in shares[1].prompts} == {f"2 and {k}" for k in (1, 2, 3, 4)}
    assert [(share.n_read, share.n_repeated) for share in shares] == [(5, 0), (5, 1)]
    report = describe_data(config)
    assert report.n_examples == 4 and [share.n_prompts for share in report.shares] == [4, 4]
    assert isinstance(report, DataReport)
    ((task, n_items, n_asked),) = report.contamination
    asked = {prompt.text for share in shares for prompt in share.prompts}
    assert (task, n_items, n_asked) == ("test", 2, int("1 and 3" in asked))
    with pytest.raises(TaskError, match=r"prompt\.2\.json holds 4 prompts that no earlier iteration has asked"):
        describe_data(build_authors_config(tmp_path / "localdata", "data.prompts_per_iteration=5"))
    with pytest.raises(ConfigError, match=r"prompt\.3\.json is no file"):
        check_files(build_authors_config(tmp_path / "localdata", "iterations=3"))
    with pytest.raises(ConfigError, match=r"has \{t\}, and SFT comes before"):
        build_authors_config(tmp_path / "localdata", f"data.sft={tmp_path}/localdata/prompt.{{t}}.json")


def test_the_authors_test_sets_are_evaluation_tasks(tmp_path: Path) -> None:
    """Their rows: uuid, question with the choices in it, label. Every set is called test.json: the task names it."""
    for name, label in (("arc-easy", "B"), ("gsm8k", 72)):
        (tmp_path / name).mkdir()
        row = {"uuid": "t0", "question": "What is it? (A) x (B) y", "label": label}
        (tmp_path / name / "test.json").write_text(json.dumps([row]))
    config = load_run_config(
        "sandbox",
        overrides=[
            f"evaluation.tasks=[{{task: arc_easy, path: {tmp_path}/arc-easy/test.json}}, "
            f"{{task: gsm8k, path: {tmp_path}/gsm8k/test.json}}]"
        ],
    )
    items = read_evaluation_files(config.evaluation)
    assert {name: [item.answer for item in found] for name, found in items.items()} == {
        "arc_easy": ["B"],
        "gsm8k": ["72"],
    }
    assert verify(items["arc_easy"][0], "Both fit, but Answer: (B)")[1] is True
    assert verify(items["arc_easy"][0], "Answer: A")[1] is False


def test_prompts_are_asked_once_and_contamination_does_not_see_case_or_spacing() -> None:
    rows = [("a", {"prompt": "x", "answer": 1}), ("b", {"prompt": "x", "answer": 2}), ("c", {"prompt": "y"})]
    data = DataConfig.model_validate({"sft": None, "prompts": "a.jsonl", "prompts_per_iteration": 2})
    (share,) = share_prompts(data, lambda _: rows, iterations=1)
    assert {prompt.text for prompt in share.prompts} == {"x", "y"}
    assert (share.n_read, share.n_repeated, share.n_conflicting) == (3, 1, 1)
    texts = (" X\n", "Y\nChoices:\n(A) z", "z", "z\nx", "x y")
    items = [build_prompt((Message("user", text),), answer="1", task="exact") for text in texts]
    assert [count_contamination(share.prompts, [item]) for item in items] == [1, 1, 0, 0, 0]


def test_the_check_of_a_config_shows_what_its_files_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each prompt is three words, and a tokenizer gives a word at least one token."""
    write_authors_folder(tmp_path / "localdata")
    words = [
        f"data.prompts={tmp_path}/localdata/prompt.{{t}}.json",
        f"evaluation.tasks=[{tmp_path}/localdata/test.json]",
    ]
    more = ["iterations=2", "data.prompts_per_iteration=4", "data.max_prompt_tokens=2"]
    overrides = [part for word in [*words, *more] for part in ("--set", word)]
    assert run_command(["config", "check", "sandbox", *overrides]) == 0
    shown = capsys.readouterr().out
    assert "prompts t=2  4 of 5 rows, 1 repeated, 4 longer than data.max_prompt_tokens" in shown
    assert "test         2 items, " in shown
    assert run_command(["config", "check", "sandbox", *overrides, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["data"]
    assert [share["n_repeated"] for share in report["shares"]] == [0, 1] and report["n_examples"] is None


def list_keys(config: Any) -> dict[str, str]:
    return {stage.label: stage.key for stage in plan_run([Segment(config, None)], base_digest="0")}


def test_a_stage_knows_its_own_file_and_those_before_it_only(tmp_path: Path) -> None:
    """Another file of iteration 2 leaves iteration 1 as it is; one of iteration 1 changes both."""
    write_authors_folder(tmp_path / "localdata")
    config = build_authors_config(tmp_path / "localdata")
    before = list_keys(config)
    second = tmp_path / "localdata" / "prompt.2.json"
    second.write_text(second.read_text().replace("2 and 4", "2 and 9"))
    after = list_keys(config)
    assert before["sample t=1"] == after["sample t=1"] and before["sample t=2"] != after["sample t=2"]
    first = tmp_path / "localdata" / "prompt.1.json"
    first.write_text(first.read_text().replace("1 and 4", "1 and 9"))
    assert after["sample t=1"] != list_keys(config)["sample t=1"]


@pytest.mark.parametrize("change", ["data.prompts.columns.prompt=meta", "data.prompts.path=b.json"])
def test_what_changes_the_rows_changes_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_json_list(tmp_path / "a.json")
    write_json_by_name(tmp_path / "b.json")
    base = ["data.prompts={path: a.json, columns: {prompt: question}}", "iterations=1"]
    keys = [list_keys(load_run_config("sandbox", overrides=more)) for more in (base, [*base, change])]
    assert keys[0]["sample t=1"] != keys[1]["sample t=1"]


def test_a_revision_and_a_subset_are_part_of_the_name_of_a_hub_data_set() -> None:
    base = ["data.prompts=org/name", "iterations=1"]
    wishes = ([], ["data.prompts.revision=abc"], ["data.prompts.subset=main"], ["data.prompts.split=test"])
    keys = [list_keys(load_run_config("sandbox", overrides=[*base, *more]))["sample t=1"] for more in wishes]
    assert len(set(keys)) == len(keys)
    with pytest.raises(ConfigError, match=r"revision.* is only for a datasets source"):
        load_run_config("sandbox", overrides=["data.prompts={path: a.csv, revision: abc}"])
