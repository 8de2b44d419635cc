"""What goes on between the layers: the vectors behind each block, and what its heads look at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.model.gpt import GPT, Block
from core.model.inference import inference
from core.sample.kv_decoder import filled


class Layer(NamedTuple):
    number: int
    """0: the embedding; n: the n-th block."""
    before: Tensor
    """(1, T, n_embd) what the block was given."""
    behind: Tensor
    """(1, T, n_embd) what it made of it."""


def layers(model: GPT, ids: Sequence[int]) -> Iterator[Layer]:
    """One after the other, each worked out when it is asked for. ids: at most a context."""
    T = len(ids)
    with inference(model, dtype=torch.float32):
        x = model.embed(_laid_out(model, ids))
    yield Layer(0, x[:, :T], x[:, :T])
    for number, block in enumerate(model.h, 1):
        with inference(model, dtype=torch.float32):
            before, x = x, block(x)
        yield Layer(number, before[:, :T], x[:, :T])


def hidden(model: GPT, ids: Sequence[int]) -> Tensor:
    """(T, n_embd) what the whole model makes of `ids`, at most a context, as `GPT.hidden_states`."""
    with inference(model, dtype=torch.float32):
        return model.hidden_states(_laid_out(model, ids))[0, : len(ids)]


def _laid_out(model: GPT, ids: Sequence[int]) -> Tensor:
    """(1, T or more): what comes behind a causal model's tokens changes nothing for them, and oneDNN keeps a program
    for each length it has met."""
    room = len(ids) if model.mask_token_id is not None else filled(len(ids), model.config.block_size)
    return torch.tensor([[*ids, *[0] * (room - len(ids))]], device=model.device)


def would_say(model: GPT, layer: Layer) -> Tensor:
    """Scores (vocabulary,) at the last place, on the CPU, were `layer` the last: the logit lens.

    Behind the last block they are the model's own.
    """
    with inference(model, dtype=torch.float32):
        return model.logits(model.final_norm(layer.behind)[:, -1]).cpu()[0]


def attention(model: GPT, layer: Layer, rows: int) -> Tensor:
    """What the last `rows` places take from each: (n_head, rows, T) in float32 on the CPU, each row adding up to 1.

    layer: a block's. As softmax(q·kᵀ / √size) says it; the model itself never has all of them at hand.
    """
    block = model.h[layer.number - 1]
    assert isinstance(block, Block)
    with inference(model, dtype=torch.float32):
        q, k, _ = block.attn.qkv(block.ln_1(layer.before))
        T = q.shape[2]
        rows = min(rows, T)
        keys = k[0].repeat_interleave(block.attn.n_head // block.attn.n_kv_head, 0)
        scores = (q[0, :, -rows:] @ keys.transpose(1, 2)).float() / math.sqrt(block.attn.head_size)
        if block.attn.causal:
            later = torch.ones(rows, T, dtype=torch.bool, device=scores.device).triu(T - rows + 1)
            scores = scores.masked_fill(later, -math.inf)
        return torch.softmax(scores, -1).cpu()
