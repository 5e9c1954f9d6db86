"""Word-level difference of two texts."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cream_tui.word_diff import Side, Span, WordDiff, compute_word_diff, count_words, turn

BOTH, FIRST, SECOND = Side.BOTH, Side.FIRST, Side.SECOND
TEXTS = st.text(st.sampled_from(list("ab c\n\t.#，日本語한é\u0301\U0001f600 \u202e\u00a0")), max_size=60)


def join(spans: tuple[Span, ...], *sides: Side) -> str:
    return "".join(span.text for span in spans if span.side in sides)


def check_texts(diff: WordDiff, first: str, second: str) -> None:
    assert join(diff.first, BOTH, FIRST) == join(diff.first, *Side) == first
    assert join(diff.second, BOTH, SECOND) == join(diff.second, *Side) == second
    assert join(diff.unified, BOTH, FIRST) == first
    assert join(diff.unified, BOTH, SECOND) == second


@given(TEXTS, TEXTS)
def test_spans_give_both_texts_back(first: str, second: str) -> None:
    diff = compute_word_diff(first, second)
    check_texts(diff, first, second)
    assert 0.0 <= diff.similarity <= 1.0
    n_shared = count_words(first) - diff.n_first_only
    assert n_shared == count_words(second) - diff.n_second_only
    assert all(span.text for span in (*diff.first, *diff.second, *diff.unified))


@given(TEXTS, TEXTS)
def test_turned_spans_give_the_other_text_first(first: str, second: str) -> None:
    diff = compute_word_diff(first, second)
    turned = turn(diff)
    check_texts(turned, second, first)
    assert (turned.n_first_only, turned.n_second_only) == (diff.n_second_only, diff.n_first_only)
    check_texts(turn(turned), first, second)


@given(TEXTS)
def test_equal_texts_have_no_difference(text: str) -> None:
    diff = compute_word_diff(text, text)
    assert diff.unified == ((Span(BOTH, text),) if text else ())
    assert (diff.n_first_only, diff.n_second_only, diff.similarity) == (0, 0, 1.0)


def test_an_inserted_and_a_replaced_word() -> None:
    """Shared: keep it short and thank (5); first alone: really, them; second alone: him. 2 * 5 / (7 + 6) words."""
    diff = compute_word_diff("keep it really short and thank them", "keep it short and thank him")
    assert diff.unified == (
        Span(BOTH, "keep it "),
        Span(FIRST, "really "),
        Span(BOTH, "short and thank "),
        Span(FIRST, "them"),
        Span(SECOND, "him"),
    )
    assert diff.first == (
        Span(BOTH, "keep it "),
        Span(FIRST, "really "),
        Span(BOTH, "short and thank "),
        Span(FIRST, "them"),
    )
    assert diff.second == (Span(BOTH, "keep it short and thank "), Span(SECOND, "him"))
    assert (diff.n_first_only, diff.n_second_only) == (2, 1)
    assert diff.similarity == pytest.approx(10 / 13)
    assert not diff.is_whole


def test_an_operator_is_a_word_and_another_line_break_is_not() -> None:
    diff = compute_word_diff("4 + 17 = 21.\n#### 21", "4 - 17 = 21. #### 21")
    assert (diff.n_first_only, diff.n_second_only) == (1, 1)
    assert diff.unified == (
        Span(BOTH, "4 "),
        Span(FIRST, "+ "),
        Span(SECOND, "- "),
        Span(BOTH, "17 = 21."),
        Span(FIRST, "\n"),
        Span(SECOND, " "),
        Span(BOTH, "#### 21"),
    )


def test_scripts_without_blanks_are_compared_by_character() -> None:
    diff = compute_word_diff("私は犬が好き", "私は猫が好き")
    assert diff.unified == (Span(BOTH, "私は"), Span(FIRST, "犬"), Span(SECOND, "猫"), Span(BOTH, "が好き"))
    assert (diff.n_first_only, diff.similarity) == (1, pytest.approx(10 / 12))


def test_texts_without_words() -> None:
    assert compute_word_diff("", "").similarity == 1.0
    diff = compute_word_diff(" \n", "one")
    check_texts(diff, " \n", "one")
    assert (diff.n_first_only, diff.n_second_only, diff.similarity) == (0, 1, 0.0)


def write_text(n: int, vocabulary: int, seed: int) -> str:
    rng = random.Random(seed)
    return " ".join(f"w{rng.randrange(vocabulary)}" for _ in range(n))


@pytest.mark.parametrize("vocabulary", [1, 2, 10, 20, 40, 200, 5000])
def test_long_unrelated_texts_stay_bounded(vocabulary: int) -> None:
    """The measured bound is 30 ms on an idle core; the test allows a busy one."""
    first, second = write_text(1200, vocabulary, 1), write_text(1200, vocabulary, 2)
    best = 1.0
    for _ in range(3):
        start = time.process_time()
        diff = compute_word_diff(first, second)
        best = min(best, time.process_time() - start)
    assert best < 0.15
    check_texts(diff, first, second)


def test_what_is_too_long_and_too_repetitive_counts_as_different_between_its_common_ends() -> None:
    first, second = (f"begin {write_text(1200, 5, seed)} end" for seed in (1, 2))
    diff = compute_word_diff(first, second)
    assert diff.is_whole
    assert (diff.unified[0].side, diff.unified[-1].side) == (BOTH, BOTH)
    assert diff.unified[0].text.startswith("begin ") and diff.unified[-1].text.endswith("end")
    assert diff.similarity < 0.05


def test_a_long_natural_text_with_frequent_words_is_still_compared() -> None:
    """4,000 words, a quarter of them one word: 1,000 * 1,000 places are too many, the other words are enough."""
    rng = random.Random(3)
    words = ["the" if rng.random() < 0.25 else f"w{rng.randrange(3000)}" for _ in range(4000)]
    edited = [word if rng.random() < 0.9 else "changed" for word in words]
    diff = compute_word_diff(" ".join(words), " ".join(edited))
    assert not diff.is_whole
    assert diff.similarity > 0.85
