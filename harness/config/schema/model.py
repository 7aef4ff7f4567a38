"""The section `model`, and what the types of all sections share."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass as schema

FORBID_EXTRA = ConfigDict(extra="forbid")
Share = Annotated[float, Field(ge=0, le=1)]


@schema(frozen=True, config=FORBID_EXTRA)
class ModelConfig:
    """Shape of a policy. width = heads x head width (even, for RoPE); context in tokens.

    base_width: with muP, the width at which initialisation and learning rate are those of the configuration; they are
    scaled at every other width, so that one learning rate serves all (arXiv 2203.03466). Width then grows by heads of
    the same width. null: no scaling.
    """

    name: str
    layers: PositiveInt
    width: PositiveInt
    heads: PositiveInt
    mlp: PositiveInt
    context: PositiveInt
    norm: Literal["rmsnorm", "layernorm", "none"]
    norm_position: Literal["pre", "post"]
    qk_norm: bool
    rope_base: PositiveFloat
    init_std: PositiveFloat
    base_width: PositiveInt | None
    vocab: Literal[112]

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def has_final_norm(self) -> bool:
        """Whether the stream is normalised before the head; after the blocks of a post-norm policy it already is."""
        return self.norm != "none" and self.norm_position == "pre"

    @property
    def width_multiplier(self) -> float:
        """Width over muP's base width; 1 without muP."""
        return 1.0 if self.base_width is None else self.width / self.base_width
