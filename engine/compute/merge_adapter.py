"""A process that writes M0 with one adapter merged into it as a plain folder.

Each update is added in float32 and only the sum is rounded to the number format of the weights. Start:
``python -P -m engine.compute.merge_adapter BASE ADAPTER DTYPE TARGET``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from engine.compute.unused_libraries import hide_unused

if __name__ == "__main__":
    hide_unused(is_quantised=False)  # updates are merged into plain weights

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from engine.compute.models import load_model, load_tokenizer, save_model
from engine.errors import CheckpointError, CreamError, ExitCode


def merge_adapter(base: Path, adapter: Path, *, dtype: str) -> PreTrainedModel:
    """Return the model with the adapter's updates in its weights.

    Raises:
        CheckpointError: the base cannot be loaded, or the adapter does not fit it.
    """
    model = load_model(base, dtype=dtype, device=torch.device("cpu"))
    try:
        wrapped = PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=True)
    except Exception as error:  # peft raises what reading, building and copying raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"the adapter in {adapter} cannot be put into {base}: {reason}") from error
    for module in wrapped.modules():
        if isinstance(module, LoraLayer):
            weight: torch.Tensor = module.get_base_layer().weight  # type: ignore[assignment]
            for name in module.active_adapters:
                update: torch.Tensor = module.get_delta_weight(name)  # type: ignore[operator]
                weight.data = (weight.data.float() + update.float()).to(weight.dtype)
    merged: PreTrainedModel = wrapped.unload()
    return merged


def main(base: str, adapter: str, dtype: str, target: str) -> int:
    """Merge and save; one JSON object on stdout says what came of it."""
    outcome: dict[str, object] = {"folder": target}
    code = ExitCode.DONE
    try:
        save_model(merge_adapter(Path(base), Path(adapter), dtype=dtype), load_tokenizer(adapter), Path(target))
    except CreamError as error:
        outcome, code = {"message": error.message, "hint": error.hint}, error.exit_code
    except MemoryError:
        outcome, code = {"message": "memory ran out", "hint": "export the adapter alone"}, ExitCode.OUT_OF_MEMORY
    json.dump(outcome, sys.stdout)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
