"""The preference loss as a function of the margin z and the confidence C.

The reference in numpy, for documents, charts and tests. Knows nothing of tokens, models or batches; the trainer has its
own over tensors and is held to this one.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def compute_loss(z: ArrayLike, c: ArrayLike) -> NDArray[np.float64]:
    """-C log sigmoid(z) - (1 - C) log sigmoid(-z), in nats, elementwise; at least 0.

    It is DPO at C = 1, reversed DPO at C = 0, and conservative DPO with label smoothing 1 - C between.

    Args:
        z: beta-scaled difference of the log-ratios of chosen and rejected against dpo_reference; finite.
        c: Confidence, in [0, 1].

    Raises:
        ValueError: c is outside [0, 1].

    Source: Wang et al. 2025, CREAM, consistency-regularised loss, arXiv 2410.12735.
    """
    z_, c_ = np.asarray(z, dtype=np.float64), _check_unit(c)
    # Both terms are positive: no cancellation, unlike -log sigmoid(z) + (1 - C) z.
    return np.asarray(c_ * np.logaddexp(0.0, -z_) + (1.0 - c_) * np.logaddexp(0.0, z_))


def compute_gradient(z: ArrayLike, c: ArrayLike) -> NDArray[np.float64]:
    """Derivative of the loss by z, sigmoid(z) - C, elementwise.

    Args:
        z: As in compute_loss.
        c: Confidence, in [0, 1].

    Raises:
        ValueError: c is outside [0, 1].
    """
    z_, c_ = np.asarray(z, dtype=np.float64), _check_unit(c)
    # sigmoid(z) - C written so that it keeps its digits for C = 1 and a large z.
    return np.asarray((1.0 - c_) * _sigmoid(z_) - c_ * _sigmoid(-z_))


def compute_target_margin(c: ArrayLike) -> NDArray[np.float64]:
    """The z at which the loss is least, logit(C), elementwise: inf at C = 1, -inf at C = 0.

    Raises:
        ValueError: c is outside [0, 1].
    """
    c_ = _check_unit(c)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(c_) - np.log1p(-c_))


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0.0, -z)))


def _check_unit(c: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(c, dtype=np.float64)
    if not ((array >= 0.0) & (array <= 1.0)).all():  # also turns away NaN
        raise ValueError(f"confidence must be in [0, 1], got {array}")
    return array
