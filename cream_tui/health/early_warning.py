"""The early warning: how probable it is that the next model is significantly worse, told without gold answers.

A logistic model of a few measures of one iteration, fitted on runs of the sandbox by ``benchmarks/early_warning.py``,
which writes its numbers to ``early_warning.json`` among the shipped configurations. Pure but for reading that file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cream_tui.health.findings import EarlyWarning
from cream_tui.health.rules import UNKNOWN
from cream_tui.results import ModelResult, compute_paired_test
from engine.config.shipped import find_configs_folder

FILE = "early_warning.json"
NOTHING_YET = "no iteration has come so far yet"
# Nats per response. Steps well below it say no more than "hardly moved", and are nearly equal.
SMALL_STEP = 0.1


@dataclass(frozen=True, slots=True)
class Feature:
    """A number that an iteration may be judged by.

    Attributes:
        title: In words, with its unit.
        needs: Measures of the model that samples.
        compute: Of that model and the first of its run, which may be the same.
    """

    title: str
    needs: tuple[str, ...]
    compute: Callable[[ModelResult, ModelResult], float]


@dataclass(frozen=True, slots=True)
class EarlyModel:
    """A logistic model of standardised features.

    Attributes:
        means, scales: By feature, over the transitions that it was fitted on.
        threshold: Probability from which on it fires.
        provenance: What it was fitted on, and how it did on runs that were never used in fitting.
    """

    intercept: float
    coefficients: Mapping[str, float]
    means: Mapping[str, float]
    scales: Mapping[str, float]
    threshold: float
    provenance: Mapping[str, Any]

    def compute_probability(self, features: Mapping[str, float]) -> float:
        """The probability of a significant fall, in [0, 1].

        Args:
            features: All that it has a coefficient for.
        """
        logit = self.intercept + sum(
            coefficient * (features[name] - self.means[name]) / self.scales[name]
            for name, coefficient in self.coefficients.items()
        )
        # Either form, so that neither overflows.
        return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


def _is_first(model: ModelResult, first: ModelResult) -> float:
    return float(model.index == first.index)


def _measure_last_step(model: ModelResult, first: ModelResult) -> float:
    """Log of the KL estimate of the last training; 0 at the first model, whose last step was SFT."""
    return 0.0 if _is_first(model, first) else math.log(max(model.measures["kl_previous"], 0.0) + SMALL_STEP)


def _measure_first_push(model: ModelResult, first: ModelResult) -> float:
    """Tau to the anchor times 2 C - 1; 0 at later models."""
    measures = model.measures
    return measures["tau_anchor"] * (2 * measures["confidence"] - 1) if _is_first(model, first) else 0.0


def _measure_growth(model: ModelResult, first: ModelResult) -> float:
    """Log of how many times longer chosen responses are than the first model's; below a token they count as one."""
    now, then = (max(at.measures["chosen_n_tokens"], 1.0) for at in (model, first))
    return math.log(now / then)


# By name. None of them needs gold answers.
FEATURES: Mapping[str, Feature] = {
    "last_step": Feature("log of (KL of last training + 0.1 nats)", ("kl_previous",), _measure_last_step),
    "is_first": Feature("the first model that samples", (), _is_first),
    "first_push": Feature("tau to the anchor, times 2 C − 1", ("tau_anchor", "confidence"), _measure_first_push),
    "growth": Feature("log of the growth of chosen responses", ("chosen_n_tokens",), _measure_growth),
}


def predict(results: Sequence[ModelResult], model: EarlyModel | None = None) -> EarlyWarning | str:
    """How probable it is that the model after the newest one with all measures is significantly worse, or why not.

    Args:
        model: Another one than that of the shipped configurations.
    """
    model = model or load_early_model()
    if model is None:
        return f"{UNKNOWN}{FILE} is not among the configurations"
    reasons = []
    for position, at in reversed(list(enumerate(results))):
        features = compute_features(results, at, names=model.coefficients)
        if not isinstance(features, str):
            probability = model.compute_probability(features)
            outcome = _find_outcome(at, results[position + 1 :])
            return EarlyWarning(
                at.name, probability, model.threshold, features, probability >= model.threshold, outcome
            )
        if at.get("tau_anchor") is not None:
            reasons.append(features)
    return UNKNOWN + (reasons[0] if reasons else NOTHING_YET)


def _find_outcome(model: ModelResult, later: Sequence[ModelResult]) -> bool | None:
    test = compute_paired_test(model, later[0]) if later and later[0].index == model.index + 1 else None
    return None if test is None else test.is_fall


def compute_features(
    results: Sequence[ModelResult], model: ModelResult, *, names: Iterable[str] = tuple(FEATURES)
) -> dict[str, float] | str:
    """Features of a model of the run, or what is missing."""
    first = next((result for result in results if result.get("tau_anchor") is not None), None)
    if first is None:
        return NOTHING_YET
    features = {name: FEATURES[name] for name in names}
    needed = dict.fromkeys(measure for feature in features.values() for measure in feature.needs)
    for at in (model, first):
        missing = [measure for measure in needed if at.get(measure) is None]
        if missing:
            return f"{at.name} lacks {', '.join(missing)}"
    return {name: feature.compute(model, first) for name, feature in features.items()}


@lru_cache(maxsize=1)
def load_early_model() -> EarlyModel | None:
    """The shipped model; None where the configurations have none."""
    path = find_configs_folder() / FILE
    return parse_early_model(path.read_text()) if path.is_file() else None


def parse_early_model(text: str) -> EarlyModel:
    """A model from JSON, as ``format_early_model`` writes it."""
    found = json.loads(text)
    return EarlyModel(
        intercept=found["intercept"],
        coefficients={name: feature["coefficient"] for name, feature in found["features"].items()},
        means={name: feature["mean"] for name, feature in found["features"].items()},
        scales={name: feature["scale"] for name, feature in found["features"].items()},
        threshold=found["threshold"],
        provenance=found["provenance"],
    )


def format_early_model(model: EarlyModel) -> str:
    """A model as JSON."""
    features = {
        name: {"coefficient": model.coefficients[name], "mean": model.means[name], "scale": model.scales[name]}
        for name in model.coefficients
    }
    record = {
        "intercept": model.intercept,
        "threshold": model.threshold,
        "features": features,
        "provenance": dict(model.provenance),
    }
    return json.dumps(record, indent=1) + "\n"
