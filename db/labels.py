"""What the label of a stage says of models, and the name of a task of its kind. Pure."""

from __future__ import annotations

# The key of the source files in the provenance of a run that was imported.
IMPORTED = "imported"
# The tasks of evaluations that rank given responses instead of answering begin with it.
PREFERENCE_TASK = "preference:"


def is_preference_stage(label: str) -> bool:
    """Whether an evaluate stage ranks given responses, as "evaluate M1 (preference)" says."""
    return label.endswith("(preference)")


def find_model_name(label: str) -> str | None:
    """The model that the label of a train or evaluate stage names, as M1 in "train M1 (SFT)"; None without one."""
    return next((word for word in label.split() if word[0] == "M" and word[1:].isdigit()), None)
