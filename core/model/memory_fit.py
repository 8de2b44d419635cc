"""What fits in a given memory, by the formula of `core.model.memory`. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from core.model.memory import memory
from core.model_size import MemoryEstimate
from core.recipe.schema import Recipe

MARGIN = 0.9
"""Share of the free memory for an automatic micro-batch: the formula errs by some 10 %, and other programs need some.
A micro-batch given in the recipe may take all of it."""


ITEM_SIZES: Final = {"float32": 4, "bfloat16": 2}
"""Bytes per number of the activations by train.precision."""


class MemoryBudget(Struct, frozen=True, kw_only=True):
    """Memory that a training may take."""

    bytes: int
    """Free bytes."""
    itemsize: int
    """Bytes per number of the activations: 4 for float32, 2 for bfloat16."""
    gpu: bool = False
    shards: int = 1
    """Number of processes that have a part of the model each."""

    def fits(self, recipe: Recipe, vocab_size: int, micro_batch: int) -> bool:
        """Whether the training fits with `micro_batch` sequences per forward pass."""
        return self.bytes >= required_bytes(recipe, vocab_size, micro_batch, self)


class PrecisionPlan(NamedTuple):
    """Memory of training in one precision."""

    precision: str
    budget: MemoryBudget
    micro_batch: int
    """train.micro_batch, or the largest that fits; 0 if none fits."""
    memory: MemoryEstimate
    """With that micro-batch; with that of the recipe, or 1, if none fits."""


def precision_plans(recipe: Recipe, vocab_size: int, free: int, gpu: bool) -> list[PrecisionPlan]:
    """Memory in each precision that the recipe allows. free: bytes of memory that are not in use."""
    plans = []
    for precision, itemsize in ITEM_SIZES.items():
        if recipe.train.precision not in ("auto", precision):
            continue
        budget = MemoryBudget(bytes=int(MARGIN * free), itemsize=itemsize, gpu=gpu)
        micro_batch, largest = recipe.train.micro_batch, largest_micro_batch(recipe, vocab_size, budget)
        if micro_batch is not None:
            micro_batch = min(micro_batch, recipe.train.batch_size)
            largest = micro_batch if micro_batch <= largest else 0
        estimate = memory(recipe, vocab_size, micro_batch=largest or micro_batch or 1, itemsize=itemsize, gpu=gpu)
        plans.append(PrecisionPlan(precision, budget, largest, estimate))
    return plans


def required_bytes(recipe: Recipe, vocab_size: int, micro_batch: int, budget: MemoryBudget) -> int:
    """Bytes a training takes in addition to the running process."""
    return memory(
        recipe,
        vocab_size,
        micro_batch=micro_batch,
        itemsize=budget.itemsize,
        gpu=budget.gpu,
        process=0,
        shards=budget.shards,
    ).peak


def largest_micro_batch(recipe: Recipe, vocab_size: int, budget: MemoryBudget) -> int:
    """The most sequences per forward pass that fit, at most a step's batch, evened out; 0: not even one fits.

    For example, of 20 sequences, of which 16 fit, 10 each.
    """
    batch = recipe.train.batch_size
    most = _largest(range(1, batch + 1), lambda sequences: budget.fits(recipe, vocab_size, sequences))
    return -(-batch // -(-batch // most)) if most else 0


def suggest_changes(recipe: Recipe, vocab_size: int, budget: MemoryBudget) -> Iterator[str]:
    """Settings for `--set` with which the training would fit: the smallest change of each field.

    If no single field is enough: one change of several fields.
    """
    model, train = recipe.model, recipe.train
    if train.micro_batch is not None:
        fitting = largest_micro_batch(recipe, vocab_size, budget)
        if fitting:
            yield f"train.micro_batch={fitting}"
            return

    def fits(**changes: int) -> bool:
        changed = msgspec.structs.replace(recipe, model=msgspec.structs.replace(model, **changes))
        return budget.fits(changed, vocab_size, 1)

    unit = model.n_head * 2  # rotary positions rotate pairs of dimensions
    widths = range(unit, model.n_embd, unit)
    found = False
    for name, values in (
        ("block_size", [2**power for power in range(3, 20) if 2**power < model.block_size]),
        ("n_layer", range(1, model.n_layer)),
        ("n_embd", widths),
    ):
        value = _largest(values, lambda value, name=name: fits(**{name: value}))  # type: ignore[misc]
        if value:
            found = True
            yield f"model.{name}={value}"
    if not found:
        block, layers = min(model.block_size, 256), min(model.n_layer, 4)
        width = _largest(widths, lambda value: fits(block_size=block, n_layer=layers, n_embd=value))
        if width:
            yield f"model.n_embd={width} with model.n_layer={layers} and model.block_size={block}"


def _largest(values: Iterable[int], fits: Callable[[int], bool]) -> int:
    """The last of the increasing `values` that fits, by bisection; 0: none fits."""
    values = list(values)
    low, high = -1, len(values)  # indices of the last value known to fit and the first known not to
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(values[middle]) else (low, middle)
    return values[low] if low >= 0 else 0
