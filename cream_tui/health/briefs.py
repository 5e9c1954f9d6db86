"""When a diagnostic warns, in the few words that a column of a list has room for.

Knows texts alone. The whole of it is the threshold that the catalogue has.
"""

from __future__ import annotations

from collections.abc import Mapping

# By key, of those whose threshold is longer than this.
MOST_CHARACTERS = 18
BRIEFS: Mapping[str, str] = {
    "accuracy_from_first": "p < 0.05, below M1",
    "accuracy_from_previous": "p < 0.05, below",
    "divergence": "rises, accuracy ↓",
    "label_accuracy": "inverted > right",
    "reward_auc": "0.05 below M1",
    "agreement_tells_labels": "within 2 SE of 0.5",
    "anchor_tells_labels": "within 2 SE of 0.5",
    "tau_anchor": "below 0.1, or half",
    "tau_previous": "within 2 SE of 0",
    "consistency_drop": "falls by over 0.1",
    "undefined_tau": "above 20 %",
    "low_consistency": "above a third",
    "reversed_pairs": "above a third",
    "ties": "above 20 %",
    "length_drift": "beyond ±50 %",
    "duplicates": "above 20 %",
    "unread_samples": "2 %, or M1 + 1 pt",
    "unread_evaluation": "2 %, or M1 + 1 pt",
    "kl_jump": "above twice before",
    "margin_target": "below half target",
    "judge_agreement": "below 0.3",
}
