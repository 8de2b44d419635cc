"""Peak memory of a training, predicted from its recipe. Imports no torch.

Weights, gradients and optimizer state are exact. Activations are a sum of tensors of known size, each times a
coefficient that `python -m benchmarks.activations` fits to what torch allocates.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from core.model.count import attention_widths, embedding_rows, matrix_parameters, mlp_widths, parameters
from core.model.tiling import ROWS, block_rows, in_blocks
from core.model_size import MemoryEstimate
from core.recipe.schema import Recipe

PROCESS: Final = 400 * 2**20
"""Bytes of the worker process before it has a model, where they are not measured; on a GPU 0."""

HEAP: Final = 1.45
"""Heap of the C library per byte of activations on the CPU, by fragmentation (1.4 to 1.5 for 112 to 415 MB of
activations, float32 and bfloat16, two cores)."""

FIRST_USE: Final = 25 * 2**20
"""Bytes torch allocates for itself at its first computation on the CPU."""

COEFFICIENTS: Final = {
    "norms": 3.25,
    "queries, keys, values": 0.41,
    "normalised queries, keys": 1.63,
    "rotated queries, keys": 0.21,
    "feed-forward, first": 3.11,
    "feed-forward, second": 0.34,
    "attention weights": 1.13,
    "dropout": 4.16,
    "attention dropout": 1.71,
    "rounded weights": 1.51,
    "embeddings": 3.95,
    "loss: head": 0.0,
    "loss: rounded head": 4.58,
    "loss: logits": 2.43,
    "backward: head": 5.01,
    "backward: attention weights": 0.45,
}
"""Number of copies of each of `TensorBytes`. Those of the MLP include tensors that always come with it."""


class TensorBytes(NamedTuple):
    """Bytes of the tensors of a forward and backward pass, by name."""

    saved: dict[str, int]
    """Saved by the forward pass for the backward pass."""
    loss: dict[str, int]
    """During the loss."""
    backward: dict[str, int]
    """In the backward pass of the last layer."""


def tensor_bytes(recipe: Recipe, vocab_size: int, *, sequences: int, itemsize: int, gpu: bool = False) -> TensorBytes:
    """Tensors of a forward and backward pass of `sequences`.

    itemsize: bytes per number of the activations: 4 for float32, 2 for bfloat16.
    """
    config = recipe.model
    length, width, rows = config.block_size, config.n_embd, embedding_rows(config, vocab_size)
    tokens = sequences * length
    queries, keys = attention_widths(config)
    first, second = mlp_widths(config)
    rounded = itemsize < 4
    each = config.n_layer * tokens * itemsize
    block = min(length, block_rows(length))
    visible = length if config.objective == "masked" else (length + block) // 2
    attention_weights = sequences * config.n_head * length * visible * itemsize
    if gpu or not in_blocks(length, itemsize=itemsize, dropout=config.dropout > 0):
        attention_weights = 0
    return TensorBytes(
        saved={
            "norms": each * width * (config.norm == "rms"),
            "queries, keys, values": each * (queries + 2 * keys),
            "normalised queries, keys": each * (queries + keys) * config.qk_norm,
            "rotated queries, keys": each * (queries + keys) * (config.positions == "rotary"),
            "feed-forward, first": each * first,
            "feed-forward, second": each * second,
            "attention weights": config.n_layer * attention_weights,
            "dropout": each * width * (config.dropout > 0),
            "attention dropout": config.n_layer * attention_weights * (config.dropout > 0),
            "rounded weights": config.n_layer * sum(matrix_parameters(config)) * itemsize * rounded,
            "embeddings": 4 * tokens * width,
        },
        loss={
            "loss: head": 4 * rows * width,
            "loss: rounded head": itemsize * rows * width * rounded,
            "loss: logits": 4 * rows * min(tokens, ROWS["cuda" if gpu else "cpu"]),
        },
        backward={"backward: head": 4 * rows * width, "backward: attention weights": attention_weights},
    )


def activations(recipe: Recipe, vocab_size: int, *, sequences: int, itemsize: int, gpu: bool = False) -> int:
    """Peak bytes of a forward and backward pass besides weights and gradients; evaluation takes less."""
    sizes = tensor_bytes(recipe, vocab_size, sequences=sequences, itemsize=itemsize, gpu=gpu)
    saved, loss, backward = (sum(COEFFICIENTS[name] * size for name, size in part.items()) for part in sizes)
    return round(saved + max(loss, backward))


def checkpoint_bytes(recipe: Recipe, vocab_size: int) -> tuple[int, int]:
    """Bytes of weights and of optimizer state, in memory and in a checkpoint."""
    config = recipe.model
    count = parameters(config, vocab_size).total
    orthogonalised = config.n_layer * sum(matrix_parameters(config)) if recipe.train.optimizer == "muon" else 0
    return 4 * count, 8 * (count - orthogonalised) + 4 * orthogonalised


def gathered_bytes(recipe: Recipe, vocab_size: int, *, itemsize: int) -> tuple[int, int]:
    """Bytes of whole weights that a rank has beside its part of a sharded model: in a pass, and with all of them.

    In a pass these are the embeddings, positions and head with their gradients, in float32, and two blocks, one of
    which is gathered while the other is computed, with the gradients of one.
    """
    config = recipe.model
    block = sum(matrix_parameters(config))
    rest = parameters(config, vocab_size).total - config.n_layer * block
    return 2 * 4 * rest + 3 * itemsize * block, 4 * rest + itemsize * config.n_layer * block


def memory(
    recipe: Recipe,
    vocab_size: int,
    *,
    micro_batch: int,
    itemsize: int,
    gpu: bool = False,
    process: int | None = None,
    shards: int = 1,
) -> MemoryEstimate:
    """Peak memory of a training with `micro_batch` sequences per forward pass.

    itemsize: bytes per number of the activations. process: bytes of the worker without a model; None: an estimate.
    shards: number of processes that have a part of the model each; the memory is that of rank 0, which gathers
    checkpoints in main memory.
    """
    weights, optimizer = checkpoint_bytes(recipe, vocab_size)
    activation_bytes = activations(recipe, vocab_size, sequences=micro_batch, itemsize=itemsize, gpu=gpu)
    # the copy that is written; on a GPU it is in main memory
    checkpoint = 0 if gpu else weights + optimizer
    gathered = whole = 0
    if shards > 1:
        gathered, whole = gathered_bytes(recipe, vocab_size, itemsize=itemsize)
        weights, optimizer = -(-weights // shards), -(-optimizer // shards)
    base = process if process is not None else 0 if gpu else PROCESS
    if gpu:
        # in one pass gradients replace activations; in several, the gradients of the first exist during the second
        step = activation_bytes + weights if micro_batch < recipe.train.batch_size else max(activation_bytes, weights)
    else:
        activation_bytes, base = round(HEAP * activation_bytes), base + FIRST_USE
        step = activation_bytes + weights  # activations leave gaps that are too small for gradients
    return MemoryEstimate(
        process=base,
        weights=weights,
        gradients=weights,
        optimizer=optimizer,
        activations=activation_bytes,
        checkpoint=checkpoint,
        gathered=gathered,
        peak=base + weights + optimizer + max(step + gathered, checkpoint, whole),
    )
