"""Final answers of free text: what is found, and what counts as equal."""

from __future__ import annotations

import pytest

from engine.tasks.answers import extract_answer, is_equal_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("3 + 4 = 7. #### 7", "7"),
        ("Answer: B", "B"),
        ("**Answer:** 12", "12"),
        ("So the answer is 12.", "12"),
        ("Answer: 3\nOn reflection, Answer: 4", "4"),
        ("thus \\boxed{42}", "42"),
        ("Answer:", None),
        ("Answer:\n12", "12"),
        ("7", "7"),
        ("It is 7.", "It is 7"),
        ("I do not know what to say", None),
        ("", None),
    ],
)
def test_extract_answer(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("extracted", "gold"),
    [
        ("7", "7"),
        ("7.0", "7"),
        ("1,234", "1234"),
        ("$18", "18"),
        ("18 dollars", "18"),
        ("42 apples", "42"),
        ("50%", "50"),
        ("1/2", "0.5"),
        ("-3", "-3"),
        (".5", "0.5"),
        ("B", "B"),
        ("(B)", "B"),
        ("B) the dog", "B"),
        ("b.", "B"),
        ("C, because x", "C"),
        ("Paris", "paris"),
        ("**Paris**", "Paris"),
    ],
)
def test_equal(extracted: str, gold: str) -> None:
    assert is_equal_answer(extracted, gold)


@pytest.mark.parametrize(
    ("extracted", "gold"),
    [
        (None, "7"),
        ("8", "7"),
        ("7 or 8", "7"),
        ("3,5", "35"),
        ("12", "1"),
        ("1/2", "1"),
        ("1/0", "1"),
        ("A dog is the best choice", "A"),
        ("I think B", "I"),
        ("B or C", "B"),
        ("(A) or (B)?", "A"),
        ("Bear", "B"),
        ("London", "Paris"),
        ("", "7"),
    ],
)
def test_not_equal(extracted: str | None, gold: str) -> None:
    assert not is_equal_answer(extracted, gold)
