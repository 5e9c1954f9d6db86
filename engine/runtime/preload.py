"""Imported once by the fork server, so that every stage's process starts with the heavy libraries in memory.

Touches no CUDA: a process that has cannot fork children that use it.
"""

from __future__ import annotations

import trl.trainer.dpo_trainer
import trl.trainer.sft_trainer  # noqa: F401
from transformers.utils.logging import disable_progress_bar

import engine.stages.run  # noqa: F401

disable_progress_bar()
