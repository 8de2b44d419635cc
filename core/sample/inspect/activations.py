"""Hidden states after each block, attention weights, and the logit lens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.model.gpt import GPT, Block
from core.model.inference import inference
from core.sample.kv_decoder import padded_length


class LayerActivations(NamedTuple):
    """Input and output of one layer."""

    number: int
    """0: the embedding; n: the n-th block."""
    input: Tensor
    """(1, T, n_embd)"""
    output: Tensor
    """(1, T, n_embd)"""


def layer_activations(model: GPT, ids: Sequence[int]) -> Iterator[LayerActivations]:
    """Layer by layer, each computed on demand. ids: at most a context."""
    T = len(ids)
    with inference(model, dtype=torch.float32):
        x = model.embed(_padded_input(model, ids))
    yield LayerActivations(0, x[:, :T], x[:, :T])
    for number, block in enumerate(model.h, 1):
        with inference(model, dtype=torch.float32):
            before, x = x, block(x)
        yield LayerActivations(number, before[:, :T], x[:, :T])


def hidden_states(model: GPT, ids: Sequence[int]) -> Tensor:
    """(T, n_embd) of the whole model for `ids`, at most a context, as `GPT.hidden_states`."""
    with inference(model, dtype=torch.float32):
        return model.hidden_states(_padded_input(model, ids))[0, : len(ids)]


def _padded_input(model: GPT, ids: Sequence[int]) -> Tensor:
    """(1, T), padded for causal models: padding after a token does not affect it, and oneDNN caches a kernel for each
    length."""
    length = len(ids) if model.mask_token_id is not None else padded_length(len(ids), model.config.block_size)
    return torch.tensor([[*ids, *[0] * (length - len(ids))]], device=model.device)


def logit_lens(model: GPT, layer: LayerActivations, rows: int = 1) -> Tensor:
    """Logits (rows, vocabulary) at the last `rows` positions, or at all if there are fewer, on the CPU, from the output
    of `layer` through final norm and head.

    For the last block they are the model's own.
    """
    with inference(model, dtype=torch.float32):
        return model.logits(model.final_norm(layer.output)[0, -rows:]).cpu()


def attention_weights(model: GPT, layer: LayerActivations, rows: int) -> Tensor:
    """(n_head, rows, T) of the last `rows` positions, float32 on the CPU; each row sums to 1.

    layer: a block's. softmax(q·kᵀ / √head_size), which the model itself never materialises.
    """
    block = model.h[layer.number - 1]
    assert isinstance(block, Block)
    with inference(model, dtype=torch.float32):
        q, k, _ = block.attn.qkv(block.ln_1(layer.input))
        T = q.shape[2]
        rows = min(rows, T)
        keys = k[0].repeat_interleave(block.attn.n_head // block.attn.n_kv_head, 0)
        scores = (q[0, :, -rows:] @ keys.transpose(1, 2)).float() / math.sqrt(block.attn.head_size)
        if block.attn.causal:
            later = torch.ones(rows, T, dtype=torch.bool, device=scores.device).triu(T - rows + 1)
            scores = scores.masked_fill(later, -math.inf)
        return torch.softmax(scores, -1).cpu()
