"""What the label of a stage says of models. Pure."""

from __future__ import annotations


def find_model_name(label: str) -> str | None:
    """The model that the label of a train or evaluate stage names, as M1 in "train M1 (SFT)"; None without one."""
    return next((word for word in label.split() if word[0] == "M" and word[1:].isdigit()), None)
