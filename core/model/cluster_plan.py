"""What a training takes of each of several GPUs, by the formulas of `core.model.memory`. Imports no torch."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from core.model.memory import memory
from core.model.memory_fit import ITEM_SIZES, MARGIN, MemoryBudget, largest_micro_batch
from core.model_size import MemoryEstimate
from core.recipe.schema import Recipe

PRECISION: Final = "bfloat16"
"""Of a training on GPUs, unless the recipe says float32."""


class ClusterPlan(Struct, frozen=True, kw_only=True):
    """A training in one process on each of `gpus` GPUs."""

    gpus: int
    precision: str
    sharded: bool
    micro_batch: int
    """Sequences of one forward pass; 0: not even one fits."""
    most: int
    """Sequences of a step on the GPU that has most of them, for which the others wait."""
    least: int
    memory: MemoryEstimate
    """Of each GPU; with one sequence, if none fits."""


def plan_cluster(recipe: Recipe, vocab_size: int, gpus: int, gpu_bytes: int) -> ClusterPlan:
    """The plan for `gpus` GPUs of `gpu_bytes` bytes each. Sharded by `train.sharding`, or if a replica does not fit."""
    precision = PRECISION if recipe.train.precision == "auto" else recipe.train.precision
    batch = recipe.train.batch_size
    most = -(-batch // gpus)
    share = msgspec.structs.replace(recipe, train=msgspec.structs.replace(recipe.train, batch_size=most))
    whole = MemoryBudget(bytes=int(MARGIN * gpu_bytes), itemsize=ITEM_SIZES[precision], gpu=True)
    full = recipe.train.sharding == "full" or (
        recipe.train.sharding == "auto" and not whole.fits(share, vocab_size, recipe.train.micro_batch or 1)
    )
    sharded = full and gpus > 1
    budget = msgspec.structs.replace(whole, shards=gpus) if sharded else whole
    micro_batch = largest_micro_batch(share, vocab_size, budget)
    if recipe.train.micro_batch is not None:
        requested = min(recipe.train.micro_batch, most)
        micro_batch = requested if requested <= micro_batch else 0
    return ClusterPlan(
        gpus=gpus,
        precision=precision,
        sharded=sharded,
        micro_batch=micro_batch,
        most=most,
        least=batch // gpus,
        memory=memory(
            share,
            vocab_size,
            micro_batch=micro_batch or 1,
            itemsize=budget.itemsize,
            gpu=True,
            shards=budget.shards,
        ),
    )
