"""What is trained beside M0's own weights, which then stay as they are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from engine.config.section import Count, PlainText, Section

ALL_LINEAR = "all-linear"
QLORA_HINT = "install it with the extra qlora: pip install 'cream-tui[qlora]'; or set adapter.kind to lora"


def _read_targets(value: Any) -> Any:
    return (ALL_LINEAR,) if value == ALL_LINEAR else value


def _check_targets(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or len(set(names)) < len(names) or (ALL_LINEAR in names and len(names) > 1):
        raise ValueError(f"is neither {ALL_LINEAR} nor a list of different layers' names, such as [q_proj, v_proj]")
    return tuple(sorted(names))


class AdapterConfig(Section):
    """A LoRA adapter: M_t is M0 and one adapter, and every iteration goes on training the same one."""

    kind: Annotated[
        Literal["lora", "qlora"],
        Field(description="lora: beside M0 in model.dtype; qlora: beside M0 in 4 bits (NF4), in every stage"),
    ]
    rank: Annotated[Count, Field(description="rank of the two factors of an update")] = 32
    alpha: Annotated[Count, Field(description="updates are scaled by alpha / rank")] = 64
    dropout: Annotated[
        float, Field(ge=0, lt=1, description="dropout before the adapter in SFT; preference training has none")
    ] = 0.1
    targets: Annotated[
        tuple[PlainText, ...],
        BeforeValidator(_read_targets, json_schema_input_type=str | list[str]),
        AfterValidator(_check_targets),
        Field(strict=False, description="names of the layers that are adapted; all-linear: all but the output head"),
    ] = (ALL_LINEAR,)

    @property
    def is_quantised(self) -> bool:
        """Whether M0 is held in 4 bits."""
        return self.kind == "qlora"
