"""Validation loss on a fixed slice of text: the same tokens every time, so that two losses can be compared."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.model.objectives import diffusion_masking, next_token
from core.model.text_loss import TextLoss, sum_nats
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import Vocabulary


def byte_lengths(vocabulary: Vocabulary) -> Tensor:
    """UTF-8 bytes of each token: int64 (vocabulary,); 0 for the end-of-text token."""
    lengths = [len(vocabulary.decode_bytes([token])) for token in range(vocabulary.size)]
    lengths[vocabulary.end_of_text] = 0
    return torch.tensor(lengths)


class EvaluationWindows:
    """Windows of block_size tokens to evaluate: all of a text, or evenly spaced ones of `limit` tokens in total.

    lengths: see `byte_lengths`. The first token has no context and is not a target. A masked model is evaluated on the
    same tokens, with the same mask each time and another mask ratio in each window.
    """

    def __init__(self, tokens: TokenStream, lengths: Tensor, *, block_size: int, limit: int) -> None:
        self._tokens, self._lengths, self._block = tokens, lengths, block_size
        self.tokens = min(limit, len(tokens) - 1)
        """Targets in all windows together."""
        self.count = -(-self.tokens // block_size)
        spare = len(tokens) - 1 - self.tokens
        self._starts = [block_size * index + spare * index // max(1, self.count - 1) for index in range(self.count)]

    def evaluate(self, model: GPT, first: int, count: int) -> tuple[TextLoss, int]:
        """The loss of at most `count` windows from number `first` on, and how many they were.

        The last window is evaluated on its own if it is shorter.
        """
        full = self.tokens // self._block
        indices = range(first, min(first + count, full)) if first < full else range(first, first + 1)
        length = min(self._block, self.tokens - self._block * first)
        windows = torch.from_numpy(np.stack([self._tokens.window(self._starts[i], length + 1) for i in indices]))
        examples = (
            next_token(windows)
            if model.mask_token_id is None
            else diffusion_masking(windows, model.mask_token_id, seed=0, step=0, indices=indices)
        )
        with inference(model):
            cost = sum_nats(model, examples, count)
        size = int(self._lengths[windows[:, 1:]].sum())
        return TextLoss(cost, examples.count, size, bound=model.mask_token_id is not None), len(indices)


def evaluate_loss(model: GPT, tokens: TokenStream, lengths: Tensor, *, batch_size: int, limit: int) -> TextLoss:
    """The loss on `limit` of `tokens`, `batch_size` windows at a time; see `EvaluationWindows`."""
    windows = EvaluationWindows(tokens, lengths, block_size=model.config.block_size, limit=limit)
    total, done = TextLoss(0.0, 0, 0, bound=model.mask_token_id is not None), 0
    while done < windows.count:
        cost, count = windows.evaluate(model, done, batch_size)
        total, done = total + cost, done + count
    return total
