"""What stands by reads so seldom that watching costs a tenth of a core at most."""

from __future__ import annotations

import time

import pytest

from cream_tui.pacing import MOST_GAP_S, Pace


def test_the_first_reading_is_due_at_once() -> None:
    assert Pace(1.0).wait_s == 0


@pytest.mark.parametrize(
    ("least_gap_s", "took_s", "wait_s"),
    [(0.25, 0.2, 1.8), (0.25, 0.001, 0.25), (0.0, 0.0, 0.0), (0.0, 6.8, MOST_GAP_S), (8.0, 6.8, 8.0)],
)
def test_the_rest_is_nine_times_the_reading_within_bounds(least_gap_s: float, took_s: float, wait_s: float) -> None:
    pace = Pace(least_gap_s)
    pace.rest(took_s)
    assert pace.wait_s == pytest.approx(wait_s, abs=0.05)


def test_a_reading_that_fails_is_rested_from_too() -> None:
    pace = Pace(0.0)

    def fail() -> None:
        with pace.measure():
            time.sleep(0.05)
            raise OSError

    with pytest.raises(OSError):
        fail()
    assert 0.3 < pace.wait_s < 1.0


def test_what_keeps_to_it_spends_a_tenth() -> None:
    pace, spent, began = Pace(0.0), 0.0, time.monotonic()
    while time.monotonic() - began < 1.0:
        with pace.measure():
            time.sleep(0.02)
            spent += 0.02
        time.sleep(pace.wait_s)
    assert spent < 0.15
