"""What was found of a run: one finding for each diagnostic, and the early warning.

Knows words and numbers. Must not know rules, the store, nor how anything is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnostic of a run.

    Attributes:
        key: What tells it from the others, for ever.
        model: The model whose value this is: the newest that warns, else the newest that has one; None: none has.
        shown: The value in words, or "not computable, because ...".
        threshold: In words, as "below 0.1".
        meaning: What it tells.
        advice: What to try where it warns.
        history: Value by model, in their order, of those that have one.
        sentence: One line with the numbers, for where there is room for no more.
        filter_text: Which of the model's pairs show it; None where the pairs do not.
        metric: Stage and name of the metric whose chart shows it.
        warned: The models at which it warns, in their order.
    """

    key: str
    title: str
    model: str | None
    value: float | None
    shown: str
    threshold: str
    status: Status
    meaning: str
    advice: str
    history: tuple[tuple[str, float], ...] = ()
    sentence: str = ""
    filter_text: str | None = None
    metric: tuple[str, str] | None = None
    warned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EarlyWarning:
    """How probable it is that the next model is significantly worse.

    Attributes:
        model: The newest model whose measures are known: the one after it is foretold.
        threshold: Probability from which on it fires.
        features: What it was computed from, by name.
        outcome: Whether the next model did get significantly worse; None as long as that is not known.
    """

    model: str
    probability: float
    threshold: float
    features: Mapping[str, float]
    is_fired: bool
    outcome: bool | None = None
