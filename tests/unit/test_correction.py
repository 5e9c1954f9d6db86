"""A verdict and the pair it meets, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.method.correction import AGREE, BINDING, BOTH_BAD, SWAP, TIE, Correction, correct_pair

A, B, C = (1, 2), (1, 3), (4,)


@pytest.mark.parametrize(
    ("pair", "judged", "verdict", "expected"),
    [
        ((A, B), (A, B), AGREE, Correction.KEPT),
        ((A, B), (A, B), SWAP, Correction.REVERSED),
        ((A, B), (A, B), TIE, Correction.DROPPED),
        ((A, B), (A, B), BOTH_BAD, Correction.DROPPED),
        # The model prefers the other side by now: the person still means the response that they preferred.
        ((B, A), (A, B), AGREE, Correction.REVERSED),
        ((B, A), (A, B), SWAP, Correction.KEPT),
        ((B, A), (A, B), TIE, Correction.DROPPED),
        ((A, C), (A, B), SWAP, Correction.UNUSED),
        ((C, B), (A, B), TIE, Correction.UNUSED),
        (None, (A, B), SWAP, Correction.UNUSED),
    ],
)
def test_each_case(
    pair: tuple[object, object] | None, judged: tuple[object, object], verdict: str, expected: Correction
) -> None:
    assert correct_pair(pair, judged, verdict) is expected  # type: ignore[arg-type]


@given(st.sampled_from(BINDING), st.sampled_from([(A, B), (B, A), (A, C)]))
def test_the_outcome_does_not_depend_on_how_the_model_ranks(verdict: str, pair: tuple[object, object]) -> None:
    """Whichever of the two orders the rewards give, the same response is chosen in the end, or none."""

    def find_chosen(now: tuple[object, object]) -> object:
        correction = correct_pair(now, (A, B), verdict)  # type: ignore[arg-type]
        return {Correction.KEPT: now[0], Correction.REVERSED: now[1]}.get(correction, correction)

    if set(pair) == {A, B}:
        assert find_chosen(pair) == find_chosen(pair[::-1])
    else:
        assert find_chosen(pair) is Correction.UNUSED


def test_a_verdict_that_binds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="unsure"):
        correct_pair((A, B), (A, B), "unsure")
