"""The parts of a model in the order of the forward pass, with their tensors and figures. Imports no torch."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from core.model.count import flops_per_token, tensor_shapes
from core.recipe.schema import Model

BLOCK: Final = "h"
"""The name of the blocks in a model, as of `GPT.h`."""
BLOCK_PARTS: Final = ("ln_1", "attn", "ln_2", "mlp")
"""The parts of a block, by their names in `Block`."""


class Part(NamedTuple):
    """A module of the model; one inside the blocks stands for those of all blocks."""

    name: str
    """Of the module in `core.model.gpt`: `wte`, `wpe`, one of BLOCK_PARTS, `ln_f`, `lm_head`."""
    parameters: int
    """Trainable parameters; 0 for a tied `lm_head`, whose matrix counts with `wte`."""
    flops: int
    """Of the forward pass for one token, as `core.model.count.flops_per_token` counts them."""

    @property
    def in_block(self) -> bool:
        return self.name in BLOCK_PARTS


def parts(config: Model, vocab_size: int) -> tuple[Part, ...]:
    """Every part once; their sums are those of `parameters` and `flops_per_token`."""
    counts: dict[str, int] = {}
    for name, size in tensor_shapes(config, vocab_size).items():
        part = part_of(name)
        counts[part] = counts.get(part, 0) + math.prod(size)
    cost = flops_per_token(config, vocab_size)
    flops = {"attn": cost.projections + cost.attention, "mlp": cost.feed_forward, "lm_head": cost.output}
    counts.setdefault("lm_head", 0)
    return tuple(Part(name, number, flops.get(name, 0)) for name, number in counts.items())


def part_of(tensor: str) -> str:
    """The part that a tensor belongs to: `attn` for `h.3.attn.c_proj.weight`."""
    names = tensor.split(".")
    return names[2] if names[0] == BLOCK else names[0]


def block_of(tensor: str) -> int | None:
    """The number of the block that a tensor belongs to, from 0; None outside the blocks."""
    names = tensor.split(".")
    return int(names[1]) if names[0] == BLOCK else None
