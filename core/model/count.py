"""Parameters and FLOPs of a model from its configuration, by part. Imports no torch.

`core.model.gpt` takes its widths from here; a test compares both for any configuration.
"""

from __future__ import annotations

import math

from msgspec import Struct

from core.model_size import ParameterCounts
from core.recipe.schema import Model

GATED_ACTIVATIONS = ("swiglu",)
"""Activations that halve the width; see `core.model.layers.ACTIVATIONS`."""


def embedding_rows(config: Model, vocab_size: int) -> int:
    """Rows of embedding and head: vocabulary, mask token of a masked model, padding."""
    used = vocab_size + (config.objective == "masked")
    return -(-used // config.pad_vocabulary_multiple) * config.pad_vocabulary_multiple


def attention_widths(config: Model) -> tuple[int, int]:
    """Width of the queries of a token and of its keys (values have the width of keys)."""
    size = config.n_embd // config.n_head
    return config.n_head * size, (config.n_kv_head or config.n_head) * size


def mlp_widths(config: Model) -> tuple[int, int]:
    """Output width of the MLP's c_fc and input width of its c_proj: (expanded, activated).

    A gated activation has two matrices for the expansion, so that two thirds of the width give as many parameters.
    """
    if config.activation in GATED_ACTIVATIONS:
        wide = 8 * math.ceil(config.n_embd / 3)
        return 2 * wide, wide
    return 4 * config.n_embd, 4 * config.n_embd


def tensor_shapes(config: Model, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter tensor. A tied head has none of its own."""
    rows, width = embedding_rows(config, vocab_size), config.n_embd
    queries, keys = attention_widths(config)
    first, second = mlp_widths(config)

    def linear(name: str, out: int, into: int, bias: bool) -> dict[str, tuple[int, ...]]:
        weight: dict[str, tuple[int, ...]] = {f"{name}.weight": (out, into)}
        return weight | ({f"{name}.bias": (out,)} if bias else {})

    def norm(name: str) -> dict[str, tuple[int, ...]]:
        parts = ("weight", "bias") if config.bias and config.norm == "layer" else ("weight",)
        return {f"{name}.{part}": (width,) for part in parts}

    block = {
        **norm("ln_1"),
        **linear("attn.c_attn", queries + 2 * keys, width, config.bias if config.qkv_bias is None else config.qkv_bias),
        **linear("attn.c_proj", width, queries, config.bias),
        **norm("ln_2"),
        **linear("mlp.c_fc", first, width, config.bias),
        **linear("mlp.c_proj", width, second, config.bias),
    }
    found: dict[str, tuple[int, ...]] = {"wte.weight": (rows, width)}
    if config.positions == "learned":
        found["wpe.weight"] = (config.block_size, width)
    found |= {f"h.{layer}.{name}": size for layer in range(config.n_layer) for name, size in block.items()}
    found |= norm("ln_f")
    if not config.tie_embeddings:
        found["lm_head.weight"] = (rows, width)
    return found


def matrix_parameters(config: Model) -> tuple[int, int]:
    """Parameters of the matrices of one block: of its attention, and of its MLP."""
    queries, keys = attention_widths(config)
    first, second = mlp_widths(config)
    return config.n_embd * (queries + 2 * keys) + queries * config.n_embd, config.n_embd * (first + second)


def parameters(config: Model, vocab_size: int) -> ParameterCounts:
    """Trainable parameters by part; biases count with their layer, a tied head with the embedding."""
    layers, width, rows = config.n_layer, config.n_embd, embedding_rows(config, vocab_size)
    attention, feed_forward = matrix_parameters(config)
    queries, keys = attention_widths(config)
    if config.bias if config.qkv_bias is None else config.qkv_bias:
        attention += queries + 2 * keys
    if config.bias:
        attention += width
        feed_forward += mlp_widths(config)[0] + width
    norm = width * (2 if config.bias and config.norm == "layer" else 1)
    return ParameterCounts(
        token_embedding=rows * width,
        positions=config.block_size * width if config.positions == "learned" else 0,
        attention=layers * attention,
        feed_forward=layers * feed_forward,
        norms=(2 * layers + 1) * norm,
        output=0 if config.tie_embeddings else rows * width,
    )


TRAINING_FACTOR = 3
"""FLOPs of forward and backward pass relative to forward: the backward pass has two products for each."""


class TokenFlops(Struct, frozen=True, kw_only=True):
    """FLOPs of the forward pass for one token at full context: 2 for each parameter of a matrix."""

    projections: int
    """Of queries, keys, values, and of the output of attention."""
    attention: int
    """Queries times all keys and attention weights times all values; causal models are counted in full, as usual."""
    feed_forward: int
    output: int

    @property
    def forward(self) -> int:
        return self.projections + self.attention + self.feed_forward + self.output

    @property
    def training(self) -> int:
        """Forward and backward: 6 per matrix parameter, 12 · n_layer · n_embd · block_size (arXiv 2204.02311, B)."""
        return TRAINING_FACTOR * self.forward


def flops_per_token(config: Model, vocab_size: int) -> TokenFlops:
    """FLOPs of one token by part."""
    attention, feed_forward = matrix_parameters(config)
    return TokenFlops(
        projections=2 * config.n_layer * attention,
        attention=4 * config.n_layer * config.n_embd * config.block_size,
        feed_forward=2 * config.n_layer * feed_forward,
        output=2 * embedding_rows(config, vocab_size) * config.n_embd,
    )
