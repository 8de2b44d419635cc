"""Losses on fixed text: the same tokens every time, so that two numbers can be compared."""

from __future__ import annotations

import math

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from core.model.gpt import GPT
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import Vocabulary


class Score(Struct, frozen=True):
    """Over some tokens, each predicted from those before it in its window."""

    nats: float
    tokens: int
    bytes: int

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
    """Score `tokens` in windows of block_size one after the other, at most the first `limit` tokens.

    lengths: see `byte_lengths`. The first token has nothing before it and is not scored.
    """
    block = model.shape.block_size
    end = min(limit, len(tokens) - 1)
    starts = list(range(0, end, block))
    nats, count, size = 0.0, 0, 0
    training = model.training
    model.eval()
    with torch.inference_mode():
        for at in range(0, len(starts), batch_size):
            chunk = starts[at : at + batch_size]
            whole = [start for start in chunk if start + block <= end]
            rest = [start for start in chunk if start + block > end]
            for group, length in ((whole, block), (rest, end - rest[0] if rest else 0)):
                if not group:
                    continue
                both = torch.from_numpy(np.stack([tokens.window(start, length + 1) for start in group]))
                ids, targets = both[:, :-1].to(model.device), both[:, 1:].to(model.device)
                nats += model.loss(ids, targets, reduction="sum").item()
                count += targets.numel()
                size += int(lengths[both[:, 1:]].sum())
    model.train(training)
    return Score(nats, count, size)
