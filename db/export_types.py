"""What the columns of exported tables hold, for whoever needs typed ones: Parquet files and data frames. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

# time: ISO 8601 text in UTC; integers, texts: a JSON list of them.
Kind: TypeAlias = Literal["text", "integer", "number", "flag", "time", "integers", "texts"]

_KINDS: dict[Kind, tuple[str, ...]] = {
    "integer": (
        *("seed", "iterations", "iteration", "k", "n", "n_distinct", "n_tokens", "step", "exit_code"),
        *("chosen_k", "rejected_k", "chosen_n_tokens", "rejected_n_tokens"),
    ),
    "number": (
        *("sampled_logprob", "sum_logprob", "reference_sum_logprob", "score", "value", "consistency_rate"),
        *("chosen_reward", "rejected_reward", "margin", "confidence", "tau_previous", "tau_anchor"),
    ),
    "flag": ("correct", "chosen_correct", "rejected_correct", "flagged", "blind", "is_baseline"),
    "time": ("at", "created_at", "started_at", "finished_at"),
    "integers": ("prompt_token_ids", "token_ids"),
    "texts": ("tags",),
}
_KIND_BY_NAME: dict[str, Kind] = {name: kind for kind, names in _KINDS.items() for name in names}


def find_kind(column: str) -> Kind:
    """What a column of ``db.exports.EXPORT_COLUMNS`` holds; each may also hold nothing."""
    return _KIND_BY_NAME.get(column, "text")
