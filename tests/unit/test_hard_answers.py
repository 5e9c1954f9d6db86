"""Hard responses: what a person would take as the final answer, and what names none. One table for the whole path."""

from __future__ import annotations

import pytest

from engine.records import Message
from engine.tasks.answers import extract_answer, is_equal_answer, normalise_answer, read_choice
from engine.tasks.numbers import read_number
from engine.tasks.sources import EXACT, build_prompt, verify

CHOICES = {"A": "a dog", "B": "photosynthesis", "C": "red giant", "D": "red", "E": "12"}
DIGITS = {"1": "iron", "2": "wood", "3": "3.5 kg of sand", "4": "glass"}

NUMBERS_RIGHT = [
    ("Answer: The first number is 3, so 12", "12"),
    ("Answer: 3 + 4 = 7", "7"),
    ("Answer: x = 7", "7"),
    ("Answer: 1/2", "0.5"),
    ("Answer: 3 1/2", "3.5"),
    ("Answer: 3½", "3.5"),
    ("Answer: ½", "0.5"),
    ("Answer: \\frac{1}{2}", "1/2"),
    ("Answer: 3\\frac{1}{2}", "3.5"),
    ("Answer: $\\dfrac12$", "0.5"),
    ("Answer: 1,234", "1234"),
    ("Answer: 1,234,567.50", "1234567.5"),
    ("Answer: 1{,}234", "1234"),
    ("Answer: 12\\,345", "12345"),
    ("Answer: $18", "18"),
    ("Answer: \\$18.00", "18"),
    ("Answer: $18 per day", "18"),
    ("Answer: -$5", "-5"),
    ("Answer: $-5", "-5"),
    ("Answer: 50%", "50"),
    ("Answer: 50\\%", "50"),
    ("Answer: −3", "-3"),
    ("Answer: \u20133", "-3"),
    ("Answer: 12 km/h", "12"),
    ("Answer: 12kg", "12"),
    ("Answer: 12 m²", "12"),
    ("Answer: 90°", "90"),
    ("Answer: 90^\\circ", "90"),
    ("Answer: 12.0", "12"),
    ("Answer: 012", "12"),
    ("Answer: .5", "0.5"),
    ("Answer: 1.5e3", "1500"),
    ("Answer: 1.5 × 10^3", "1500"),
    ("Answer: 1.5 \\times 10^{3}", "1500"),
    ("Answer: 10^2", "100"),
    ("Answer: 10²", "100"),
    ("Answer: \\boxed{42}", "42"),
    ("So \\boxed{\\frac{1}{2}} remains.", "0.5"),
    ("So \\boxed{x = 5\\text{ apples}}.", "5"),
    ("The total is \\( \\boxed{12} \\).", "12"),
    ("Answer: \\(12\\)", "12"),
    ("Answer: **12**", "12"),
    ("Answer: `12`", "12"),
    ("**Answer**: 12", "12"),
    ("__Answer:__ 12", "12"),
    ("Final answer = 12", "12"),
    ("Answer (in dollars): 12", "12"),
    ("Answer:\n\n12", "12"),
    ("Answer:\n```\n12\n```", "12"),
    ("```\nAnswer: 12\n```", "12"),
    ("### Answer\n12", "12"),
    ("Answer: The total is:\n12", "12"),
    ("The answer to the question is 12.", "12"),
    ("The answer would be 12 apples, because 3 times 4 is 12.", "12"),
    ("Answer: 12!", "12"),
    ("Answer: 12 (3 boxes of 4)", "12"),
    ("Answer: not 10, but 12", "12"),
    ("Answer: John has 12 apples", "12"),
    ("Answer: 3\nWait. Answer: 12", "12"),
    ("Answer: 12\nSo the answer is 12.", "12"),
    ("Answer: 12\n\nQuestion: What is 1 + 1?\nAnswer: 2", "12"),
    ("3 * 4 = 12. #### 12", "12"),
    ("#### 12 apples", "12"),
    ("#### Final Answer\n12", "12"),
]
NUMBERS_WRONG = [
    ("Answer: The first number is 3, so 12", "3"),
    ("Answer: 7 or 8", "7"),
    ("Answer: 7 or 8", "8"),
    ("Answer: either 7 or 8", "8"),
    ("Answer: between 3 and 5", "5"),
    ("Answer: 3-5", "5"),
    ("Answer: 3 apples and 4 oranges", "4"),
    ("Answer: 3 apples and 4 oranges", "3"),
    ("Answer: 1/2", "1"),
    ("Answer: 1/2", "2"),
    ("Answer: \\frac{1}{2}", "12"),
    ("Answer: 3 1/2", "3"),
    ("Answer: 3,5", "3"),
    ("Answer: 1,234", "1"),
    ("Answer: 1,2345", "12345"),
    ("Answer: 1/0", "0"),
    ("Answer: 5:30", "5"),
    ("Answer: 2024-05-01", "2024"),
    ("Answer: the 3rd one", "3"),
    ("Answer: version 1.2.3", "1.2"),
    ("Answer: 10^2", "10"),
    ("Answer: 12 m²", "2"),
    ("Answer: 10 - 3", "7"),
    ("Answer: 10 - 3", "10"),
    ("Answer: x = 5, y = 6", "6"),
    ("Answer: 2 + 3 = 5 or 2 * 3 = 6", "6"),
    ("Answer: 12 out of 20", "12"),
    ("Answer: \\boxed{12", "12"),
    ("Answer: -3", "3"),
    ("Answer: .5", "5"),
    ("Answer: 0.5", "5"),
    ("Answer: " + "9" * 5000, "9"),
    ("Answer: 1e999999999", "1"),
    ("3 times 4 makes 12 in the end", "12"),
    ("Answer:", "12"),
    ("Let us think step by step. There are 3 boxes", "3"),
    ("Answer: 3\nWait. Answer: 12", "3"),
]
CHOICES_RIGHT = [
    ("Answer: A", "A"),
    ("answer: a", "A"),
    ("Answer: (B)", "B"),
    ("Answer: B.", "B"),
    ("Answer: B) photosynthesis", "B"),
    ("Answer: (b) Photosynthesis.", "B"),
    ("Answer: B: photosynthesis", "B"),
    ("Answer: B - photosynthesis", "B"),
    ("Answer: option B", "B"),
    ("Answer: Option (B)", "B"),
    ("Answer: **B**", "B"),
    ("**Answer: (B)**", "B"),
    ("Answer: \\boxed{B}", "B"),
    ("\\boxed{\\text{B}}", "B"),
    ("\\boxed{\\textbf{(B)}}", "B"),
    ("Answer: $\\boxed{\\mathrm{B}}$", "B"),
    ("Answer: E", "E"),
    ("Answer: 12", "E"),
    ("Answer: a dog", "A"),
    ("Answer: dog", "A"),
    ("Answer: photosynthesis", "B"),
    ("Answer: the process is photosynthesis", "B"),
    ("Answer: a red giant", "C"),
    ("Answer: Red", "D"),
    ("The answer is not A, it is B", "B"),
    ("The answer is B, not A.", "B"),
    ("The answer is B because A is wrong.", "B"),
    ("Answer: B. A plant needs light.", "B"),
    ("Answer: B. (A) is wrong.", "B"),
    ("Answer: B, rather than C", "B"),
    ("Answer: A is correct", "A"),
    ("Answer: I think B", "B"),
    ("The correct option is (C).", "C"),
    ("So (B) is the correct answer.", "B"),
    ("After all of this I find that B is correct.", "B"),
    ("Answer:\n(B)", "B"),
    ("Answer: A\nNo. Answer: B", "B"),
    ("B", "B"),
    ("(B) photosynthesis", "B"),
    ("photosynthesis", "B"),
    ("Answer: B\nExplanation: (A) is an animal.", "B"),
    ("Answer: B\n\nQuestion: Which is red?\nAnswer: D", "B"),
]
CHOICES_NONE = [
    "Answer: A dog or photosynthesis",
    "Answer: A or B",
    "Answer: A and B",
    "Answer: A, B",
    "Answer: A/B",
    "Answer: (A) or (B)?",
    "Answer: B) red",
    "Answer: none of these",
    "Answer: not A",
    "Answer: F",
    "Answer: I do not know",
    "Answer: a cat",
    "Answer:",
    "A dog chases photosynthesis in the red light of",
    "Because plants need light, we can see that (A) is out, and so",
    "",
]
DIGITS_RIGHT = [
    ("Answer: 3", "3"),
    ("Answer: (3)", "3"),
    ("Answer: option 3", "3"),
    ("Answer: 3. 3.5 kg of sand", "3"),
    ("Answer: wood", "2"),
    ("Answer: 2, since wood floats", "2"),
]
DIGITS_NONE = ["Answer: 3.5", "Answer: 1/2", "Answer: 12", "Answer: 5", "Answer: 1 or 2"]


def is_right(text: str, gold: str) -> bool:
    prompt = build_prompt((Message("user", "?"),), answer=gold, task=EXACT)
    return verify(prompt, text)[1] is True


def choose(text: str, choices: dict[str, str]) -> str | None:
    extracted = extract_answer(text)
    return None if extracted is None else read_choice(extracted, choices)


def test_the_table_is_large() -> None:
    n = sum(map(len, (NUMBERS_RIGHT, NUMBERS_WRONG, CHOICES_RIGHT, CHOICES_NONE, DIGITS_RIGHT, DIGITS_NONE)))
    assert n >= 160


@pytest.mark.parametrize(("text", "gold"), NUMBERS_RIGHT)
def test_number_is_read(text: str, gold: str) -> None:
    assert is_right(text, gold)


@pytest.mark.parametrize(("text", "gold"), NUMBERS_WRONG)
def test_number_is_not_read_into_a_response(text: str, gold: str) -> None:
    assert not is_right(text, gold)


@pytest.mark.parametrize(("text", "label"), CHOICES_RIGHT)
def test_choice_is_read(text: str, label: str) -> None:
    assert choose(text, CHOICES) == label


@pytest.mark.parametrize("text", CHOICES_NONE)
def test_no_choice_is_read_into_a_response(text: str) -> None:
    assert choose(text, CHOICES) is None


@pytest.mark.parametrize(("text", "label"), DIGITS_RIGHT)
def test_choice_among_digits_is_read(text: str, label: str) -> None:
    assert choose(text, DIGITS) == label


@pytest.mark.parametrize("text", DIGITS_NONE)
def test_a_number_is_no_choice_among_digits(text: str) -> None:
    assert choose(text, DIGITS) is None


@pytest.mark.parametrize(
    ("text", "gold", "equal"),
    [
        ("Answer: the Eiffel Tower", "Eiffel Tower", True),
        ("Answer: “Paris”", "paris", True),
        ("Answer: \\text{Paris}", "Paris", True),
        ("Answer: Paris, Texas", "Paris", False),
        ("Answer: yes", "no", False),
        ("Answer: yes.", "Yes", True),
        ("Answer: e.g. this", "E", False),
        ("Answer: (C) because", "C", True),
    ],
)
def test_texts_are_equal_up_to_articles_and_marks(text: str, gold: str, equal: bool) -> None:
    assert is_right(text, gold) is equal


@pytest.mark.parametrize(
    ("one", "other"), [("12.0", "12"), ("1/2", "0.5"), ("$1,234", "1234"), ("B) dog", "(B)"), ("The dog", "dog.")]
)
def test_equal_answers_have_one_spelling(one: str, other: str) -> None:
    assert normalise_answer(one) == normalise_answer(other)


@pytest.mark.parametrize(("one", "other"), [("12", "13"), ("B", "C"), ("dog", "cat"), ("-3", "3")])
def test_different_answers_keep_their_spellings(one: str, other: str) -> None:
    assert normalise_answer(one) != normalise_answer(other)


def test_a_long_text_is_searched_in_a_moment() -> None:
    text = "the answer to " + "x " * 200_000 + "9,999" * 20_000
    assert not is_equal_answer(extract_answer(text), "12")
    assert read_number("1, 2, " * 60) is None
