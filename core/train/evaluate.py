"""Losses on fixed text: the same tokens every time, so that two numbers can be compared."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from core.model.cost import Cost, nats
from core.model.examples import causal, drawn
from core.model.gpt import GPT
from core.model.inference import inference
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import Vocabulary


def byte_lengths(vocabulary: Vocabulary) -> Tensor:
    """UTF-8 bytes of each token (vocabulary,), int64; 0 for the end-of-text mark."""
    lengths = [len(vocabulary.decode_bytes([token])) for token in range(vocabulary.size)]
    lengths[vocabulary.end_of_text] = 0
    return torch.tensor(lengths)


def score(model: GPT, tokens: TokenStream, lengths: Tensor, *, batch_size: int, limit: int) -> Cost:
    """Score `tokens` in windows of block_size: all of them, or windows spread evenly over them, `limit` tokens in all.

    lengths: see `byte_lengths`. The first token has nothing before it and is not scored. A masked model is scored on
    the same tokens; the same ones are hidden whenever it is, in each window another share.
    """
    block = model.shape.block_size
    end = min(limit, len(tokens) - 1)
    count = -(-end // block)
    spare = len(tokens) - 1 - end
    starts = [block * index + spare * index // max(1, count - 1) for index in range(count)]
    total, scored, size = 0.0, 0, 0
    whole = end // block
    pieces = [range(at, min(at + batch_size, whole)) for at in range(0, whole, batch_size)]
    pieces += [range(whole, count)] if whole < count else []
    with inference(model):
        for piece in pieces:
            length = min(block, end - block * piece[0])
            windows = torch.from_numpy(np.stack([tokens.window(starts[index], length + 1) for index in piece]))
            examples = (
                causal(windows) if model.mask is None else drawn(windows, model.mask, seed=0, step=0, indices=piece)
            )
            total += nats(model, examples, batch_size)
            scored += examples.count
            size += int(lengths[windows[:, 1:]].sum())
    return Cost(total, scored, size, bound=model.mask is not None)
