"""Losses on fixed text: the same tokens every time, so that two numbers can be compared."""

from __future__ import annotations

import math

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import Vocabulary
from core.train.objective import causal, drawn


class Score(Struct, frozen=True):
    """Over some tokens, each predicted from its window: from those before it, or as `objective.drawn` says."""

    nats: float
    tokens: int
    bytes: int
    bound: bool = False
    """Whether the text costs at most so much: an estimate of the bound that masked models have."""

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / max(1, self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """What a byte of the text costs under the model; comparable between vocabularies and with compressors.

        Predicting the end-of-text marks costs too, though they are no bytes of the text.
        """
        return self.nats / math.log(2) / max(1, self.bytes)


def byte_lengths(vocabulary: Vocabulary) -> Tensor:
    """UTF-8 bytes of each token (vocabulary,), int64; 0 for the end-of-text mark."""
    lengths = [len(vocabulary.decode_bytes([token])) for token in range(vocabulary.size)]
    lengths[vocabulary.end_of_text] = 0
    return torch.tensor(lengths)


def score(model: GPT, tokens: TokenStream, lengths: Tensor, *, batch_size: int, limit: int) -> Score:
    """Score `tokens` in windows of block_size: all of them, or windows spread evenly over them, `limit` tokens in all.

    lengths: see `byte_lengths`. The first token has nothing before it and is not scored. A masked model is scored on
    the same tokens; the same ones are hidden whenever it is, in each window another share.
    """
    block = model.shape.block_size
    end = min(limit, len(tokens) - 1)
    count = -(-end // block)
    spare = len(tokens) - 1 - end
    starts = [block * index + spare * index // max(1, count - 1) for index in range(count)]
    nats, scored, size = 0.0, 0, 0
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
            for ids, targets, weights in examples.pieces(batch_size, model.device):
                nats += model.loss(ids, targets, weights=weights).nats.item()
            scored += examples.count
            size += int(lengths[windows[:, 1:]].sum())
    return Score(nats, scored, size, bound=model.mask is not None)
