"""Rows of benchmarks and of task files as prompts: layouts, gold answers, and what is said of broken ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.benchmarks import BENCHMARKS
from engine.config.evaluation import EvaluationConfig, TaskConfig, find_task_source
from engine.config.load import load_run_config
from engine.errors import BackendError, ConfigError, TaskError
from engine.records import Prompt
from engine.tasks.benchmarks import INSTRUCTION, parse_items
from engine.tasks.choices import read_choices
from engine.tasks.evaluation import read_evaluation_files
from engine.tasks.files import read_rows
from engine.tasks.preferences import parse_preferences
from engine.tasks.sources import normalise_answer, parse_prompts, verify

ARC = {
    "id": "Mercury_7175875",
    "question": "Which gas do plants take in?",
    "choices": {"text": ["oxygen", "carbon dioxide", "helium", "neon"], "label": ["A", "B", "C", "D"]},
    "answerKey": "B",
}
ARC_DIGITS = {
    **ARC,
    "choices": {"text": ["oxygen", "carbon dioxide", "helium"], "label": ["1", "2", "3"]},
    "answerKey": "2",
}
ARC_ORIGINAL = {
    "id": "x",
    "question": {
        "stem": ARC["question"],
        "choices": [{"text": "oxygen", "label": "A"}, {"text": "carbon dioxide", "label": "B"}],
    },
    "answerKey": "B",
}
OPENBOOKQA = {
    "id": "7-980",
    "question_stem": "The sun is responsible for",
    "choices": {"text": ["puppies", "plants growing", "phones", "cars"], "label": ["A", "B", "C", "D"]},
    "answerKey": "B",
}
SIQA = {
    "context": "Tracy stayed home.",
    "question": "What does Tracy need to do before this?",
    "answerA": "make a new plan",
    "answerB": "go home and see Riley",
    "answerC": "find somewhere to go",
    "label": "2",
}
GSM8K = {"question": "How many?", "answer": "She has 9 * 2 = <<9*2=18>>18 dollars.\n#### 1,018"}


def parse(row: dict[str, Any]) -> Prompt:
    (item,) = parse_items([("f, line 1", row)])
    return item


@pytest.mark.parametrize(
    ("row", "gold", "chosen"),
    [
        (ARC, "B", "carbon dioxide"),
        (ARC_DIGITS, "2", "carbon dioxide"),
        (ARC_ORIGINAL, "B", "carbon dioxide"),
        (OPENBOOKQA, "B", "plants growing"),
        (SIQA, "B", "go home and see Riley"),
    ],
)
def test_a_choice_benchmark_asks_for_its_gold_label(row: dict[str, Any], gold: str, chosen: str) -> None:
    item = parse(row)
    assert item.answer == gold
    assert read_choices(item)[gold] == chosen
    assert item.text.endswith(f"\n{INSTRUCTION}")
    assert f"({gold}) {chosen}\n" in item.text
    assert verify(item, f"Thinking.\nAnswer: ({gold})") == (gold, True)
    assert verify(item, f"Answer: {chosen}") == (gold, True)
    other = next(label for label in read_choices(item) if label != gold)
    assert verify(item, f"Answer: {other}") == (other, False)
    assert verify(item, "Answer: none of them") == (None, False)


def test_the_text_of_an_arc_prompt() -> None:
    assert parse(ARC).text == (
        "Which gas do plants take in?\nChoices:\n(A) oxygen\n(B) carbon dioxide\n(C) helium\n(D) neon\n"
        "Answer the question by thinking step by step. At the end, output the final answer, starting with 'Answer:'."
    )


def test_siqa_opens_with_its_context() -> None:
    assert parse(SIQA).text.startswith("Tracy stayed home. What does Tracy need to do before this?\nChoices:\n(A) make")


def test_gsm8k_takes_the_number_behind_its_mark() -> None:
    item = parse(GSM8K)
    assert (item.answer, item.text) == ("1,018", f"How many?\n{INSTRUCTION}")
    assert verify(item, "Answer: $1018.00")[1]
    assert not verify(item, "Answer: 18")[1]


@pytest.mark.parametrize("answer", ["B", "b", 1, "blue"])
def test_a_gold_choice_is_a_label_an_index_from_zero_or_a_text(answer: object) -> None:
    assert parse({"question": "?", "choices": ["red", "blue"], "answer": answer}).answer == "B"


@pytest.mark.parametrize(
    "choices", [{"A": "red", "B": "blue"}, [{"label": "A", "text": "red"}, {"label": "B", "text": "blue"}]]
)
def test_choices_may_carry_their_labels(choices: object) -> None:
    assert parse({"question": "?", "choices": choices, "answer": "blue"}).answer == "B"


def test_choices_may_be_numbers_and_five_or_more() -> None:
    item = parse({"question": "?", "choices": [10, 20, 30, 40, 50, 60], "answer": "60"})
    assert item.answer == "F"
    assert verify(item, "Answer: 60") == ("F", True)
    assert verify(item, "Answer: F.") == ("F", True)


def test_lines_of_a_question_are_no_choices() -> None:
    item = parse({"question": "Read:\n(A) old\n(B) older\nWhich?", "choices": ["one\ntwo", "three"], "answer": 0})
    assert read_choices(item) == {"A": "one two", "B": "three"}


def test_rows_with_a_prompt_are_asked_as_they_were_before() -> None:
    row = ("f", {"prompt": "1 + 1?", "answer": 2, "choices": ["1", "2"]})
    assert parse_items([row]) == parse_prompts([row], need_answer=True)


def test_equal_items_are_one() -> None:
    assert len(parse_items([("1", ARC), ("2", {**ARC, "id": "other"})])) == 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "?", "choices": ["red", "blue"], "answer": "green"}, "names no choice"),
        ({"question": "?", "choices": ["red", "blue"], "answer": 2}, "no index of 2 choices"),
        ({"question": "?", "choices": ["red", "blue"]}, "answer None names no choice"),
        ({"question": "?", "choices": ["B", "A"], "answer": "A"}, "could be A or B"),
        ({"question": "?", "choices": ["red"], "answer": 0}, "2 to 26 choices, found 1"),
        ({"question": "?", "choices": "red, blue", "answer": 0}, "text and no list"),
        ({"question": "?", "choices": ["red", ""], "answer": 0}, "choice B must be text"),
        (
            {"question": "?", "choices": {"text": ["a"], "label": ["A", "B"]}, "answerKey": "A"},
            "as many texts as labels",
        ),
        (
            {"question": "?", "choices": [{"label": "A", "text": "x"}, {"label": "A", "text": "y"}], "answer": 0},
            "labelled A",
        ),
        ({"question": "?", "choices": {"first": "x", "B": "y"}, "answer": 0}, "one letter or digit"),
        ({"question": " ", "choices": ["red", "blue"], "answer": 0}, "question must be text"),
        ({"question": "?"}, "answer must be a number or text"),
        ({"question": "?", "answer": "so #### "}, "nothing follows ####"),
        ({**SIQA, "label": ""}, "label must be 1 to 3"),
        ({**SIQA, "label": "4"}, "label must be 1 to 3"),
        ({"text": "?"}, "neither prompt nor messages"),
    ],
)
def test_a_broken_row_is_refused_with_its_place(row: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError) as caught:
        parse_items([("tasks.jsonl, line 7", row)])
    assert "tasks.jsonl, line 7" in caught.value.message
    assert words in caught.value.message


def test_a_csv_file_writes_its_choices_as_json(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "choices", "answer"])
        writer.writerow(["Which?", json.dumps(["red", "blue"]), "blue"])
    (item,) = parse_items(read_rows(path))
    assert (item.answer, list(read_choices(item))) == ("B", ["A", "B"])


def test_answers_that_count_as_equal_have_one_spelling() -> None:
    assert {normalise_answer(parse(GSM8K), f"Answer: {text}") for text in ("1,018", "$1018", "1018.0")} == {"1018"}
    assert {normalise_answer(parse(ARC), f"Answer: {text}") for text in ("B", "(b)", "carbon dioxide")} == {"B"}
    assert normalise_answer(parse(ARC), "Answer: water") is None


def test_a_benchmark_by_name_has_the_papers_split_and_size() -> None:
    sources = {name: find_task_source(name) for name in BENCHMARKS}
    assert {name: source.n_rows for name, source in sources.items()} == {
        "arc_easy": 2376,
        "arc_challenge": 1172,
        "openbookqa": 500,
        "siqa": 1954,
        "gsm8k": 1319,
    }
    assert [source.rows.kind for source in sources.values() if source.rows] == ["datasets"] * 5
    siqa = sources["siqa"].rows
    assert siqa is not None and (siqa.split, siqa.revision) == ("validation", "refs/convert/parquet")


def test_a_mapping_names_other_rows_for_a_benchmark(tmp_path: Path) -> None:
    local = find_task_source(TaskConfig(task="arc_easy", path="arc.parquet"))
    assert local.name == "arc_easy" and local.rows is not None and local.rows.kind == "file" and local.n_rows is None
    folder = find_task_source(TaskConfig(task="arc_easy", path=str(tmp_path)))
    assert folder.rows is not None and (folder.rows.split, folder.rows.subset, folder.n_rows) == ("test", None, None)
    own = find_task_source(TaskConfig(task="mine", path="someone/set", split="dev", subset="hard"))
    assert own.rows is not None and (own.rows.split, own.rows.subset) == ("dev", "hard")


@pytest.mark.parametrize(
    ("override", "key", "words"),
    [
        ("evaluation.tasks=[arc_esay]", "evaluation.tasks", "did you mean arc_easy?"),
        ("evaluation.tasks=['lm_eval:']", "evaluation.tasks", "neither sandbox"),
        ("evaluation.tasks=[{task: arc_easy}]", "evaluation.tasks.0.path", "is missing"),
        ("evaluation.tasks=[{task: arc_easy, path: a.jsonl, spilt: x}]", "evaluation.tasks.0.spilt", "split"),
        ("evaluation.tasks=[{task: arc_easy, path: a.jsonl, split: x}]", "evaluation.tasks.0.path", "no splits"),
        ("evaluation.tasks=[{task: 'lm_eval:x', path: a.jsonl}]", "evaluation.tasks.0.task", "no name"),
        ("evaluation.tasks=[arc_easy, {task: arc_easy, path: a.jsonl}]", "evaluation.tasks", "two tasks are named"),
        ("evaluation.preference_sets=[rewards.txt]", "evaluation.preference_sets", "reward_bench"),
        ("evaluation.lm_eval_tasks=folder", "evaluation.lm_eval_tasks", "lm_eval:NAME"),
    ],
)
def test_a_wrong_task_is_refused_by_its_key(override: str, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run_config("sandbox", overrides=[override])
    assert caught.value.key == key
    assert words in str(caught.value)


def test_files_are_checked_before_a_start(tmp_path: Path) -> None:
    good, bad, pairs = tmp_path / "good.jsonl", tmp_path / "bad.jsonl", tmp_path / "pairs.jsonl"
    good.write_text(json.dumps(ARC) + "\n" + json.dumps(OPENBOOKQA) + "\n")
    bad.write_text(json.dumps(ARC) + "\n" + json.dumps({**ARC, "answerKey": "E"}) + "\n")
    pairs.write_text('{"prompt": "hi", "chosen": "a"}\n')
    found = read_evaluation_files(EvaluationConfig(tasks=("sandbox", "gsm8k", str(good)), items=1))
    assert {name: len(items) for name, items in found.items()} == {"good": 1}
    with pytest.raises(TaskError, match=r"bad.jsonl, line 2: answerKey 'E' names no choice"):
        read_evaluation_files(EvaluationConfig(tasks=(str(bad),)))
    with pytest.raises(TaskError, match=r"pairs.jsonl, line 1: rejected must be text"):
        read_evaluation_files(EvaluationConfig(preference_sets=(str(pairs),)))


def test_lm_eval_is_asked_for_before_a_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = EvaluationConfig(tasks=("lm_eval:arc_easy",), lm_eval_tasks=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"lm_eval_tasks: .*none is no folder"):
        read_evaluation_files(config)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError, match="needs lm_eval") as caught:
        read_evaluation_files(config)
    assert "cream-tui[lm-eval]" in str(caught.value)


def test_relative_files_of_an_evaluation_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = [
        "evaluation.tasks=[{task: arc_easy, path: a.csv}, b.parquet, gsm8k, 'lm_eval:x']",
        "evaluation.preference_sets=[c.json]",
        "evaluation.lm_eval_tasks=own",
    ]
    evaluation = load_run_config("sandbox", overrides=overrides).evaluation
    assert [path for _, path in evaluation.files] == [str(tmp_path / name) for name in ("a.csv", "b.parquet", "c.json")]
    assert evaluation.lm_eval_tasks == str(tmp_path / "own")


def test_preferences_are_texts_or_conversations() -> None:
    turns = [{"role": "user", "content": "hi"}]
    conversations = {
        "chosen": [*turns, {"role": "assistant", "content": "hello"}],
        "rejected": [*turns, {"role": "assistant", "content": "go away"}],
    }
    texts = {"prompt": "hi", "chosen": "hello", "rejected": "go away", "subset": "chat"}
    one, other = parse_preferences([("1", conversations), ("2", texts)])
    assert (one.messages, one.chosen, one.rejected) == (other.messages, other.chosen, other.rejected)
    assert (one.subset, other.subset, other.item_id) == (None, "chat", f"chat/{one.item_id}")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "hi", "chosen": "a", "rejected": "a"}, "are equal"),
        ({"prompt": "hi", "chosen": "a"}, "rejected must be text"),
        ({"chosen": "a", "rejected": "b"}, "neither prompt nor messages"),
        ({"prompt": "hi", "chosen": "a", "rejected": "b", "subset": "x/y"}, "without a slash"),
        ({"chosen": [{"role": "user", "content": "a"}], "rejected": "b"}, "end with the assistant"),
    ],
)
def test_a_broken_preference_is_refused_with_its_place(row: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError) as caught:
        parse_preferences([("pairs.jsonl, line 3", row)])
    assert "pairs.jsonl, line 3" in caught.value.message
    assert words in caught.value.message
