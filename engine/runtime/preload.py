"""Imported once by the fork server, so that every stage's process starts with the heavy libraries in memory.

What they leave in memory stays for good, so no garbage is looked for among it: neither while they load (a fifth of the
time) nor in a stage, where one look would take half a second. Touches no CUDA: a process that has cannot fork children
that use it. ``preload_quantised`` is for runs with QLoRA.
"""

from __future__ import annotations

import gc
import sys

from engine.compute.unused_libraries import QUANTISER, hide_unused

gc.disable()
hide_unused(is_quantised=QUANTISER in sys.modules)

import trl.trainer.dpo_trainer  # noqa: E402
import trl.trainer.sft_trainer  # noqa: E402, F401
from transformers.utils.logging import disable_progress_bar  # noqa: E402

import engine.stages.run  # noqa: E402, F401

disable_progress_bar()
gc.freeze()
gc.enable()
