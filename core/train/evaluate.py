"""Losses on fixed text: the same tokens every time, so that two numbers can be compared."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from core.model.cost import Cost, nats
from core.model.gpt import GPT
from core.model.inference import inference
from core.model.objectives import diffusion_masking, next_token
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import Vocabulary


def byte_lengths(vocabulary: Vocabulary) -> Tensor:
    """UTF-8 bytes of each token (vocabulary,), int64; 0 for the end-of-text mark."""
    lengths = [len(vocabulary.decode_bytes([token])) for token in range(vocabulary.size)]
    lengths[vocabulary.end_of_text] = 0
    return torch.tensor(lengths)


class Windows:
    """What is scored of a text: windows of block_size, all of them, or so many spread evenly that `limit` tokens are.

    lengths: see `byte_lengths`. The first token has nothing before it and is not scored. A masked model is scored on
    the same tokens; the same ones are hidden whenever it is, in each window another share.
    """

    def __init__(self, tokens: TokenStream, lengths: Tensor, *, block_size: int, limit: int) -> None:
        self._tokens, self._lengths, self._block = tokens, lengths, block_size
        self.tokens = min(limit, len(tokens) - 1)
        """Scored in all."""
        self.count = -(-self.tokens // block_size)
        spare = len(tokens) - 1 - self.tokens
        self._starts = [block_size * index + spare * index // max(1, self.count - 1) for index in range(self.count)]

    def score(self, model: GPT, first: int, count: int) -> tuple[Cost, int]:
        """What at most `count` windows from `first` on cost, and how many they were: the last, where it is shorter,
        comes alone."""
        whole = self.tokens // self._block
        piece = range(first, min(first + count, whole)) if first < whole else range(first, first + 1)
        length = min(self._block, self.tokens - self._block * first)
        windows = torch.from_numpy(np.stack([self._tokens.window(self._starts[at], length + 1) for at in piece]))
        examples = (
            next_token(windows)
            if model.mask_token_id is None
            else diffusion_masking(windows, model.mask_token_id, seed=0, step=0, indices=piece)
        )
        with inference(model):
            cost = nats(model, examples, count)
        size = int(self._lengths[windows[:, 1:]].sum())
        return Cost(cost, examples.count, size, bound=model.mask_token_id is not None), len(piece)


def score(model: GPT, tokens: TokenStream, lengths: Tensor, *, batch_size: int, limit: int) -> Cost:
    """What `limit` of `tokens` cost, `batch_size` windows at a time; see `Windows`."""
    windows = Windows(tokens, lengths, block_size=model.config.block_size, limit=limit)
    total, at = Cost(0.0, 0, 0, bound=model.mask_token_id is not None), 0
    while at < windows.count:
        cost, done = windows.score(model, at, batch_size)
        total, at = total + cost, at + done
    return total
