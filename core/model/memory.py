"""What a training takes of its device's memory, before there is anything of it: the formula. Imports no torch.

Weights, gradients and what the optimisers remember are counted. What a forward pass keeps is a sum of things whose
sizes are known, each times a coefficient that `python -m benchmarks.activations` fits to what torch really asks for.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from core.model.count import attention_widths, embedding_rows, feed_forward_widths, matrices, parameters
from core.model.tiling import ROWS, block_rows, in_blocks
from core.model_size import MemoryEstimate
from core.recipe.schema import Recipe

PROCESS: Final = 400 * 2**20
"""What the worker takes before there is a model, where it cannot be asked; on a GPU nothing."""

HEAP: Final = 1.45
"""How much the C library's heap takes on the CPU for each byte of activations it is asked for: blocks of many sizes
come and go and leave gaps (1.4 to 1.5 for 112 to 415 MB of them, float32 and bfloat16, two cores)."""

FIRST_USE: Final = 25 * 2**20
"""What torch takes on the CPU, beside what it is asked for, when it first computes."""

COEFFICIENTS: Final = {
    "norms": 3.25,
    "queries, keys, values": 0.41,
    "scaled queries, keys": 1.63,
    "turned queries, keys": 0.21,
    "feed-forward, first": 3.11,
    "feed-forward, second": 0.34,
    "probabilities": 1.13,
    "dropped": 4.16,
    "dropped probabilities": 1.71,
    "rounded weights": 1.51,
    "embedded": 3.95,
    "loss: head": 0.0,
    "loss: rounded head": 4.58,
    "loss: scores": 2.43,
    "backward: head": 5.01,
    "backward: probabilities": 0.45,
}
"""How often each of `Sizes` is there. Those of a bent feed-forward layer also stand for what always goes with it."""


class Sizes(NamedTuple):
    """Bytes of what a forward and backward pass deals in."""

    kept: dict[str, int]
    """From the forward pass to the backward pass."""
    loss: dict[str, int]
    """While the loss is worked out."""
    backward: dict[str, int]
    """In the first layer on the way back."""


def sizes(recipe: Recipe, vocabulary: int, *, sequences: int, itemsize: int, gpu: bool = False) -> Sizes:
    """What a forward and backward pass of so many sequences deals in.

    itemsize: bytes of a number between embedding and scores: 4 of float32, 2 of bfloat16.
    """
    shape = recipe.model
    length, width, rows = shape.block_size, shape.n_embd, embedding_rows(shape, vocabulary)
    tokens = sequences * length
    queries, keys = attention_widths(shape)
    first, second = feed_forward_widths(shape)
    short = itemsize < 4
    each = shape.n_layer * tokens * itemsize
    block = min(length, block_rows(length))
    seen = length if shape.objective == "masked" else (length + block) // 2
    probabilities = sequences * shape.n_head * length * seen * itemsize
    if gpu or not in_blocks(length, itemsize=itemsize, dropout=shape.dropout > 0):
        probabilities = 0
    return Sizes(
        kept={
            "norms": each * width * (shape.norm == "rms"),
            "queries, keys, values": each * (queries + 2 * keys),
            "scaled queries, keys": each * (queries + keys) * shape.qk_norm,
            "turned queries, keys": each * (queries + keys) * (shape.positions == "rotary"),
            "feed-forward, first": each * first,
            "feed-forward, second": each * second,
            "probabilities": shape.n_layer * probabilities,
            "dropped": each * width * (shape.dropout > 0),
            "dropped probabilities": shape.n_layer * probabilities * (shape.dropout > 0),
            "rounded weights": shape.n_layer * sum(matrices(shape)) * itemsize * short,
            "embedded": 4 * tokens * width,
        },
        loss={
            "loss: head": 4 * rows * width,
            "loss: rounded head": itemsize * rows * width * short,
            "loss: scores": 4 * rows * min(tokens, ROWS["cuda" if gpu else "cpu"]),
        },
        backward={"backward: head": 4 * rows * width, "backward: probabilities": probabilities},
    )


def activations(recipe: Recipe, vocabulary: int, *, sequences: int, itemsize: int, gpu: bool = False) -> int:
    """Bytes that a forward and backward pass takes at most beside weights and gradients. An evaluation takes less:
    it goes the same way and keeps nothing."""
    there = sizes(recipe, vocabulary, sequences=sequences, itemsize=itemsize, gpu=gpu)
    kept, loss, backward = (sum(COEFFICIENTS[name] * size for name, size in part.items()) for part in there)
    return round(kept + max(loss, backward))


def saved(recipe: Recipe, vocabulary: int) -> tuple[int, int]:
    """Bytes of weights and of what the optimisers remember, in memory as in a checkpoint."""
    shape = recipe.model
    count = parameters(shape, vocabulary).total
    turned = shape.n_layer * sum(matrices(shape)) if recipe.train.optimizer == "muon" else 0
    return 4 * count, 8 * (count - turned) + 4 * turned


def memory(
    recipe: Recipe, vocabulary: int, *, micro_batch: int, itemsize: int, gpu: bool = False, process: int | None = None
) -> MemoryEstimate:
    """What a training with `micro_batch` sequences in a forward pass takes of its device at most.

    process: bytes the worker takes before there is a model; left out: an estimate.
    """
    weights, optimizer = saved(recipe, vocabulary)
    kept = activations(recipe, vocabulary, sequences=micro_batch, itemsize=itemsize, gpu=gpu)
    # what is written is copied before; on a GPU that is main memory's business
    checkpoint = 0 if gpu else weights + optimizer
    base = process if process is not None else 0 if gpu else PROCESS
    if gpu:
        # of one pass the gradients come as the activations go; of several, those of the first are there in the second
        step = kept + weights if micro_batch < recipe.train.batch_size else max(kept, weights)
    else:
        kept, base = round(HEAP * kept), base + FIRST_USE
        step = kept + weights  # what the activations leave is gaps, too small for the gradients
    return MemoryEstimate(
        process=base,
        weights=weights,
        gradients=weights,
        optimizer=optimizer,
        activations=kept,
        checkpoint=checkpoint,
        peak=base + weights + optimizer + max(step, checkpoint),
    )
