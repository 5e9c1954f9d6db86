"""The loss against conservative DPO, its regulariser form and its derivative."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special

from engine.method.loss import compute_gradient, compute_loss, compute_target_margin

margins = st.floats(-30, 30)
units = st.floats(0, 1)


def dpo(z):
    return -math.log(special.expit(z))


def test_loss_by_hand():
    """sigmoid(ln 3) = 3/4: at C = 0.9 the loss is -0.9 ln(3/4) - 0.1 ln(1/4) and the gradient 0.75 - 0.9."""
    z = math.log(3)
    assert compute_loss(z, 0.9) == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25))
    assert compute_gradient(z, 0.9) == pytest.approx(-0.15)


@given(margins, units)
def test_loss_equals_conservative_dpo(z, c):
    """Label smoothing e = 1 - C: -(1 - e) log sigmoid(z) - e log sigmoid(-z), which is -log sigmoid(z) + (1 - C) z."""
    smoothing = 1 - c
    conservative = -(1 - smoothing) * special.log_expit(z) - smoothing * special.log_expit(-z)
    assert compute_loss(z, c) == pytest.approx(conservative, abs=1e-12)
    assert compute_loss(z, c) == pytest.approx(-special.log_expit(z) + (1 - c) * z, abs=1e-12)


@given(margins)
def test_ends_are_dpo_and_reversed_dpo(z):
    assert compute_loss(z, 1.0) == pytest.approx(dpo(z))
    assert compute_loss(z, 0.0) == pytest.approx(dpo(-z))


@given(st.floats(-10, 10), units)
def test_gradient_is_the_derivative(z, c):
    assert compute_gradient(z, c) == pytest.approx(special.expit(z) - c, abs=1e-12)
    step = 1e-5
    slope = (compute_loss(z + step, c) - compute_loss(z - step, c)) / (2 * step)
    assert compute_gradient(z, c) == pytest.approx(slope, abs=1e-8)


@given(st.floats(-1, 1))
def test_first_step_is_minus_half_tau(tau):
    """At z = 0 the gradient is 1/2 - (1 + tau) / 2 = -tau / 2, that is (2C - 1) times the -1/2 of plain DPO."""
    c = (1 + tau) / 2
    assert compute_gradient(0.0, c) == pytest.approx(-tau / 2, abs=1e-12)
    assert compute_gradient(0.0, c) == pytest.approx((2 * c - 1) * compute_gradient(0.0, 1.0), abs=1e-12)


@given(margins, st.floats(0, 10))
def test_regulariser_form(z, weight):
    """L_DPO + l L_reg = (1 + 2l) (C_l L + (1 - C_l) L_rev), with L_reg = L + L_rev and C_l = (1 + l) / (1 + 2l)."""
    c = (1 + weight) / (1 + 2 * weight)
    regularised = dpo(z) + weight * (dpo(z) + dpo(-z))
    assert (1 + 2 * weight) * compute_loss(z, c) == pytest.approx(regularised)


@given(margins)
def test_regulariser_is_a_divergence_from_a_fair_coin(z):
    """Twice the loss at C = 1/2 is -log p - log(1 - p) = 2 KL(1/2 || p) + 2 ln 2, with p = sigmoid(z)."""
    p, q = special.expit(z), special.expit(-z)
    divergence = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / q)
    assert 2 * compute_loss(z, 0.5) - 2 * divergence == pytest.approx(2 * math.log(2), abs=1e-9)


@pytest.mark.parametrize(
    ("c", "z"), [(0.5, 0.0), (0.75, math.log(3)), (0.25, -math.log(3)), (1, math.inf), (0, -math.inf)]
)
def test_target_margin(c, z):
    """logit(3/4) = ln 3; certainty asks for an infinite margin."""
    assert compute_target_margin(c) == pytest.approx(z)


@given(st.floats(0.01, 0.99))
def test_target_margin_minimises_the_loss(c):
    z = float(compute_target_margin(c))
    assert compute_gradient(z, c) == pytest.approx(0.0, abs=1e-12)
    found = optimize.minimize_scalar(lambda z: float(compute_loss(z, c)), bounds=(-10, 10), method="bounded")
    assert z == pytest.approx(found.x, abs=1e-3)


def test_large_margins_neither_overflow_nor_lose_digits():
    """At z = 50 and C = 1 the gradient is -sigmoid(-50), where sigmoid(50) - 1 would round to 0."""
    with np.errstate(all="raise", under="ignore"):
        assert compute_loss([-1000.0, 1000.0], [1.0, 0.25]) == pytest.approx([1000.0, 750.0])
        assert compute_loss(1000.0, 1.0) == 0.0
        assert compute_gradient(50.0, 1.0) == pytest.approx(-math.exp(-50), rel=1e-12, abs=0)
        assert compute_gradient([-1000.0, 1000.0], 0.25) == pytest.approx([-0.25, 0.75])


def test_arrays_broadcast():
    z, c = np.array([[-1.0], [0.0], [2.0]]), np.array([0.0, 0.5, 0.8, 1.0])
    table = [[compute_loss(float(row), float(column)) for column in c] for row in z[:, 0]]
    assert compute_loss(z, c) == pytest.approx(np.array(table))
    assert compute_gradient(z, c).shape == (3, 4)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, [0.5, 2.0]])
def test_confidence_out_of_range_is_refused(bad):
    for call in (
        lambda: compute_loss(0.0, bad),
        lambda: compute_gradient(0.0, bad),
        lambda: compute_target_margin(bad),
    ):
        with pytest.raises(ValueError, match="confidence must be in"):
            call()
