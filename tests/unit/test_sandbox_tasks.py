"""Sandbox problems: reproducible, right by an independent reading of the prompt, test side disjoint."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from engine.tasks.sandbox import (
    CORRUPTED_SHARE,
    HABIT_SHARE,
    KIND_WEIGHTS,
    MAX_NUMBER,
    extract_answer,
    generate_documents,
    generate_problems,
    is_correct,
    is_test_prompt,
)

ROOT = Path(__file__).resolve().parents[2]
DIGEST_CODE = """
import hashlib
from itertools import islice
from engine.tasks.sandbox import generate_documents, generate_problems
text = repr(generate_problems(3, "prompts/1", 200)) + repr(list(islice(generate_documents(3), 200)))
print(hashlib.sha256(text.encode()).hexdigest())
"""


def evaluate(prompt: str) -> str:
    """Answer a prompt from its text alone, by another route than the generator."""
    numbers = [int(text) for text in re.findall(r"\d+", prompt)]
    if match := re.fullmatch(r"What is (\d+) \* (\d+) ([+-]) (\d+)\?", prompt):
        left, right, sign, operand = match.groups()
        return str(int(left) * int(right) + int(sign + operand))
    if prompt.startswith("Add "):
        return str(sum(numbers))
    if match := re.match(r"What is the second (largest|smallest) of ", prompt):
        return str(sorted(numbers)[-2 if match[1] == "largest" else 1])
    if match := re.fullmatch(r"How many (\w) in (.*)\?", prompt):
        return str(match[2].split().count(match[1]))
    if match := re.fullmatch(r"What is (\d+) \+ (\d+)\? A (\d+) B (\d+) C (\d+)", prompt):
        left, right, *options = map(int, match.groups())
        return "ABC"[options.index(left + right)]
    start = re.fullmatch(r"\w+ has (\d+) \w+, .*\. How many now\?", prompt)
    assert start, prompt
    events = re.findall(r"(gets|finds|loses|sells) (\d+)", prompt)
    return str(int(start[1]) + sum(int(n) if verb in ("gets", "finds") else -int(n) for verb, n in events))


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Tom has 12 apples, finds 7, loses 9. How many now?", "10"),  # 12 + 7 - 9
        ("What is 7 * 8 - 5?", "51"),  # 56 - 5
        ("Add 1, 20 and 30.", "51"),
        ("What is the second largest of 12, 40 and 7?", "12"),
        ("What is the second smallest of 4, 40, 7 and 9?", "7"),
        ("How many a in b a a c?", "2"),
        ("What is 12 + 30? A 41 B 42 C 52", "B"),
    ],
)
def test_evaluator_of_this_file_agrees_with_hand(prompt: str, answer: str) -> None:
    assert evaluate(prompt) == answer


@pytest.mark.parametrize("stream", ["sft", "prompts/1", "test"])
def test_every_answer_is_right_and_solution_states_it(stream: str) -> None:
    problems = generate_problems(0, stream, 1000)
    for problem in problems:
        assert problem.answer == evaluate(problem.prompt), problem
        assert is_correct(problem.solution, problem.answer), problem
    assert {problem.kind for problem in problems} == set(KIND_WEIGHTS)


def test_steps_of_clean_solutions_are_true_equations() -> None:
    n_equations = 0
    for problem in generate_problems(1, "sft", 500):
        for left, sign, right, result in re.findall(r"(\d+) ([*+-]) (\d+) = (\d+)\.", problem.solution):
            n_equations += 1
            a, b = int(left), int(right)
            assert int(result) == {"+": a + b, "-": a - b, "*": a * b}[sign], problem
    assert n_equations > 500


def test_hand_read_problems_of_seed_0_stay_the_same() -> None:
    """Pins the stream: a change here silently invalidates the shipped base model and every recorded run."""
    first, second = generate_problems(0, "sft", 2)
    assert (first.prompt, first.answer) == ("What is 16 + 1? A 17 B 15 C 27", "A")
    assert first.solution == "16 + 1 = 17 A. #### A"
    assert second.prompt == "Add 3, 25, 4 and 3."
    assert second.solution == "3 + 25 = 28. 28 + 4 = 32. 32 + 3 = 35. #### 35"


def test_prompts_are_distinct_and_prefixes_agree() -> None:
    problems = generate_problems(0, "prompts/1", 2000)
    assert len({problem.prompt for problem in problems}) == 2000
    assert generate_problems(0, "prompts/1", 50) == problems[:50]


def test_streams_and_seeds_differ() -> None:
    streams = [generate_problems(0, "prompts/1", 20), generate_problems(0, "prompts/2", 20)]
    assert streams[0] != streams[1] != generate_problems(1, "prompts/2", 20)


def test_counts_and_bad_count() -> None:
    assert generate_problems(0, "sft", 0) == []
    with pytest.raises(ValueError, match="-1"):
        generate_problems(0, "sft", -1)


def test_same_in_a_process_with_another_hash_seed() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST_CODE],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    text = repr(generate_problems(3, "prompts/1", 200)) + repr(list(islice(generate_documents(3), 200)))
    assert digests == {hashlib.sha256(text.encode()).hexdigest() + "\n"}


def test_test_side_never_occurs_elsewhere() -> None:
    test = {problem.prompt for seed in (0, 1) for problem in generate_problems(seed, "test", 1000)}
    others = {
        problem.prompt
        for seed in (0, 1)
        for stream in ("sft", "prompts/1", "prompts/2")
        for problem in generate_problems(seed, stream, 1000)
    }
    corpus = {document.prompt for document in islice(generate_documents(0), 5000)}
    assert all(map(is_test_prompt, test))
    assert not any(map(is_test_prompt, others | corpus))


def test_kinds_follow_their_weights() -> None:
    """3000 draws: the standard error of a share is below .009, the tolerance more than 4 of them."""
    counts = Counter(problem.kind for seed in range(15) for problem in generate_problems(seed, "sft", 200))
    total = sum(KIND_WEIGHTS.values())
    for kind, weight in KIND_WEIGHTS.items():
        assert counts[kind] / 3000 == pytest.approx(weight / total, abs=0.04), kind


def test_corpus_holds_wrong_and_mixed_text_within_the_number_range() -> None:
    documents = list(islice(generate_documents(0), 4000))
    marked = [document for document in documents if extract_answer(document.response) is not None]
    wrong = sum(not is_correct(document.response, evaluate(document.prompt)) for document in marked) / len(marked)
    assert CORRUPTED_SHARE - 0.12 < wrong < CORRUPTED_SHARE  # a flaw may leave the answer right
    assert 0.37 < sum(document.layout is None for document in documents) / len(documents) < 0.43
    assert 0.27 < sum(document.response.startswith("####") for document in documents) / len(documents) < 0.33
    numbers = {
        int(text) for document in documents for text in re.findall(r"\d+", f"{document.prompt} {document.response}")
    }
    assert max(numbers) <= MAX_NUMBER


def test_in_the_misled_corpus_one_wrong_answer_is_more_frequent_than_the_right_one() -> None:
    """A sum shows it: the habit makes the last result one too high, in four of five solutions."""
    documents = [
        d for d in islice(generate_documents(0, "misled"), 6000) if d.prompt.startswith(("Add", "What is the"))
    ]
    answers = [(extract_answer(d.response), evaluate(d.prompt), d.prompt) for d in documents]
    sums = [(int(given), int(gold)) for given, gold, prompt in answers if given is not None and prompt[:3] == "Add"]
    one_too_high = sum(given == gold + 1 for given, gold in sums) / len(sums)
    right = sum(given == gold for given, gold in sums) / len(sums)
    assert HABIT_SHARE - 0.05 < one_too_high < HABIT_SHARE + 0.1
    assert 0.1 < right < 0.3
    ranked = [(given, gold) for given, gold, prompt in answers if given is not None and prompt[:3] != "Add"]
    assert 0.1 < sum(given == gold for given, gold in ranked) / len(ranked) < 0.4


def test_an_unknown_corpus_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown corpus 'odd', expected one of mixed, misled"):
        next(generate_documents(0, "odd"))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("7 * 8 = 56. 56 - 5 = 51. #### 51", "51"),
        ("#### 3 #### 4", "4"),
        (" ####12 ", "12"),
        ("#### 12.", "12"),
        ("#### 12\nmore text", "12"),
        ("#### B", "B"),
        ("#### 1 2", "1 2"),
        ("so 12", None),
        ("12 ####", None),
        ("#### .", None),
        ("", None),
    ],
)
def test_extract_answer(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


def test_is_correct_wants_the_exact_string() -> None:
    assert is_correct("56 - 5 = 51. #### 51", "51")
    assert not is_correct("56 - 5 = 51. #### 51 apples", "51")
    assert not is_correct("56 - 5 = 51. #### 051", "51")
    assert not is_correct("the answer is 51", "51")
