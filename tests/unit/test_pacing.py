"""What stands by reads so seldom that watching costs a tenth of a core at most."""

from __future__ import annotations

import pytest

from cream_tui import pacing
from cream_tui.pacing import MOST_GAP_S, Pace


class Clock:
    """Stands in for ``time``: it goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the paces."""
    made = Clock()
    monkeypatch.setattr(pacing, "time", made)
    return made


def test_the_first_reading_is_due_at_once() -> None:
    assert Pace(1.0).wait_s == 0


@pytest.mark.parametrize(
    ("least_gap_s", "took_s", "wait_s"),
    [(0.25, 0.2, 1.8), (0.25, 0.001, 0.25), (0.0, 0.0, 0.0), (0.0, 6.8, MOST_GAP_S), (8.0, 6.8, 8.0)],
)
def test_the_rest_is_nine_times_the_reading_within_bounds(
    clock: Clock, least_gap_s: float, took_s: float, wait_s: float
) -> None:
    pace = Pace(least_gap_s)
    pace.rest(took_s)
    assert pace.wait_s == pytest.approx(wait_s)
    clock.sleep(wait_s / 3)
    assert pace.wait_s == pytest.approx(wait_s * 2 / 3)
    clock.sleep(wait_s)
    assert pace.wait_s == 0


def test_a_reading_that_fails_is_rested_from_too(clock: Clock) -> None:
    pace = Pace(0.0)

    def fail() -> None:
        with pace.measure():
            clock.sleep(0.05)
            raise OSError

    with pytest.raises(OSError):
        fail()
    assert pace.wait_s == pytest.approx(0.45)


def test_what_keeps_to_it_spends_a_tenth(clock: Clock) -> None:
    pace, spent, began = Pace(0.0), 0.0, clock.now
    while clock.now - began < 1000.0:
        with pace.measure():
            clock.sleep(0.02)
            spent += 0.02
        clock.sleep(pace.wait_s)
    assert spent == pytest.approx(100.0, rel=0.01)
