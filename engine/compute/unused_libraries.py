"""Libraries that trl and peft load only because they are installed, and that a training does without.

Called before those are imported, and knows none of them. bitsandbytes and wandb take a second and 50 MB of a process.
"""

from __future__ import annotations

import sys

QUANTISER = "bitsandbytes"
TRACKER = "wandb"


def hide_unused(*, is_quantised: bool) -> None:
    """Have this process find no wandb, and no bitsandbytes where no model is quantised; what is loaded stays.

    For good: trl asks anew, after its imports, whether wandb is there.
    """
    for name in (TRACKER,) if is_quantised else (TRACKER, QUANTISER):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: there is no such module
