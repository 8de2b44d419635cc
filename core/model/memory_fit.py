"""What fits a memory of a known size, by the formula of `core.model.memory`. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec import Struct

from core.model.memory import memory
from core.recipe.schema import Recipe

MARGIN = 0.9
"""Share of the free memory that a choice of ours may take: the formula errs by some 10 %, and others need some, too.
What a recipe asks for may take all of it."""


class Room(Struct, frozen=True, kw_only=True):
    """Where a training has to fit in."""

    bytes: int
    """Still to be had."""
    itemsize: int
    """Bytes of a number between embedding and scores: 4 of float32, 2 of bfloat16."""
    gpu: bool = False

    def takes(self, recipe: Recipe, vocabulary: int, micro_batch: int) -> bool:
        """Whether the training fits with so many sequences in a forward pass."""
        return self.bytes >= needed(recipe, vocabulary, micro_batch, self)


def needed(recipe: Recipe, vocabulary: int, micro_batch: int, room: Room) -> int:
    """Bytes a training takes beside the process that is there already."""
    return memory(recipe, vocabulary, micro_batch=micro_batch, itemsize=room.itemsize, gpu=room.gpu, process=0).peak


def largest_micro_batch(recipe: Recipe, vocabulary: int, room: Room) -> int:
    """The most sequences in one forward pass that fit, at most a step's batch; 0: not even one does.

    As even as can be: of 20 sequences, of which 16 fit, 10 each.
    """
    batch = recipe.train.batch_size
    most = _largest(range(1, batch + 1), lambda sequences: room.takes(recipe, vocabulary, sequences))
    return -(-batch // -(-batch // most)) if most else 0


def what_would_fit(recipe: Recipe, vocabulary: int, room: Room) -> Iterator[str]:
    """Changes of one field each, as `--set` takes them, with which the training would fit; the mildest of each.

    Where no single one is enough: one of several at once.
    """
    model, train = recipe.model, recipe.train
    if train.micro_batch is not None:
        fitting = largest_micro_batch(recipe, vocabulary, room)
        if fitting:
            yield f"train.micro_batch={fitting}"
            return

    def fits(**changes: int) -> bool:
        changed = msgspec.structs.replace(recipe, model=msgspec.structs.replace(model, **changes))
        return room.takes(changed, vocabulary, 1)

    unit = model.n_head * 2  # rotary positions turn pairs
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
    """The last of the rising `values` that fits, given that all before it do, too; 0: none does."""
    values = list(values)
    low, high = -1, len(values)  # the last place known to fit, the first known not to
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(values[middle]) else (low, middle)
    return values[low] if low >= 0 else 0
