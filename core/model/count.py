"""What a model costs before it is there: its parameters and its arithmetic, by part. Imports no torch.

The forms follow `core.model.gpt`, which takes its widths from here; a test holds the two equal for any shape.
"""

from __future__ import annotations

import math

from msgspec import Struct

from core.model_size import ParameterCounts
from core.recipe.schema import Model


def embedding_rows(shape: Model, vocabulary: int) -> int:
    """Rows of the embedding and of the head: the vocabulary, the mark of what is hidden, padding."""
    used = vocabulary + (shape.objective == "masked")
    return -(-used // shape.pad_vocabulary_multiple) * shape.pad_vocabulary_multiple


def attention_widths(shape: Model) -> tuple[int, int]:
    """Numbers of a token's queries, and of its keys (its values have as many)."""
    size = shape.n_embd // shape.n_head
    return shape.n_head * size, (shape.n_kv_head or shape.n_head) * size


def feed_forward_widths(shape: Model) -> tuple[int, int]:
    """Numbers of a token that the feed-forward layer's first product makes, and that its second takes.

    With SwiGLU two thirds of the width, since it needs two matrices on the way in: as many weights in all.
    """
    if shape.activation == "swiglu":
        wide = 8 * math.ceil(shape.n_embd / 3)
        return 2 * wide, wide
    return 4 * shape.n_embd, 4 * shape.n_embd


def tensors(shape: Model, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Name and size of every tensor the model learns. A tied head is none of its own."""
    rows, width = embedding_rows(shape, vocabulary), shape.n_embd
    queries, keys = attention_widths(shape)
    first, second = feed_forward_widths(shape)

    def linear(name: str, out: int, into: int, bias: bool) -> dict[str, tuple[int, ...]]:
        weight: dict[str, tuple[int, ...]] = {f"{name}.weight": (out, into)}
        return weight | ({f"{name}.bias": (out,)} if bias else {})

    def norm(name: str) -> dict[str, tuple[int, ...]]:
        parts = ("weight", "bias") if shape.bias and shape.norm == "layer" else ("weight",)
        return {f"{name}.{part}": (width,) for part in parts}

    block = {
        **norm("ln_1"),
        **linear("attn.c_attn", queries + 2 * keys, width, shape.bias if shape.qkv_bias is None else shape.qkv_bias),
        **linear("attn.c_proj", width, queries, shape.bias),
        **norm("ln_2"),
        **linear("mlp.c_fc", first, width, shape.bias),
        **linear("mlp.c_proj", width, second, shape.bias),
    }
    found: dict[str, tuple[int, ...]] = {"wte.weight": (rows, width)}
    if shape.positions == "learned":
        found["wpe.weight"] = (shape.block_size, width)
    found |= {f"h.{layer}.{name}": size for layer in range(shape.n_layer) for name, size in block.items()}
    found |= norm("ln_f")
    if not shape.tie_embeddings:
        found["lm_head.weight"] = (rows, width)
    return found


def matrices(shape: Model) -> tuple[int, int]:
    """Parameters of one block that multiply: those of its attention, those of its feed-forward layer."""
    queries, keys = attention_widths(shape)
    first, second = feed_forward_widths(shape)
    return shape.n_embd * (queries + 2 * keys) + queries * shape.n_embd, shape.n_embd * (first + second)


def parameters(shape: Model, vocabulary: int) -> ParameterCounts:
    """Numbers the model learns, by part; biases belong to their layer. A tied head is counted with the embedding."""
    layers, width, rows = shape.n_layer, shape.n_embd, embedding_rows(shape, vocabulary)
    attention, feed_forward = matrices(shape)
    queries, keys = attention_widths(shape)
    if shape.bias if shape.qkv_bias is None else shape.qkv_bias:
        attention += queries + 2 * keys
    if shape.bias:
        attention += width
        feed_forward += feed_forward_widths(shape)[0] + width
    norm = width * (2 if shape.bias and shape.norm == "layer" else 1)
    return ParameterCounts(
        token_embedding=rows * width,
        positions=shape.block_size * width if shape.positions == "learned" else 0,
        attention=layers * attention,
        feed_forward=layers * feed_forward,
        norms=(2 * layers + 1) * norm,
        output=0 if shape.tie_embeddings else rows * width,
    )


BOTH_WAYS = 3
"""Of the work forward, what forward and backward take: backward makes two products of each."""


class Work(Struct, frozen=True, kw_only=True):
    """Floating-point operations a token, forward, at full context: 2 for each parameter of a matrix product."""

    projections: int
    """Of queries, keys and values, and of what attention gathers."""
    attention: int
    """Queries with all keys and probabilities with all values; a causal model needs half of it, as nobody counts."""
    feed_forward: int
    output: int

    @property
    def forward(self) -> int:
        return self.projections + self.attention + self.feed_forward + self.output

    @property
    def training(self) -> int:
        """Forward and backward: 6 per matrix parameter, 12·layers·width·context (PaLM, arXiv 2204.02311, B)."""
        return BOTH_WAYS * self.forward


def work(shape: Model, vocabulary: int) -> Work:
    """What one token costs to be read."""
    attention, feed_forward = matrices(shape)
    return Work(
        projections=2 * shape.n_layer * attention,
        attention=4 * shape.n_layer * shape.n_embd * shape.block_size,
        feed_forward=2 * shape.n_layer * feed_forward,
        output=2 * embedding_rows(shape, vocabulary) * shape.n_embd,
    )
