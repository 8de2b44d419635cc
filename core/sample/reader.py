"""A causal model reads a text once and then goes on token by token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.model.cache import Cache
from core.model.gpt import GPT
from core.model.inference import inference
from core.sample.samplers import finite

LENGTHS = 32
"""A text is filled up to a multiple of this when it is read: oneDNN keeps a program for each length it has met, which
took 400 MB of a training's memory after its first sample of 100 tokens."""


def kept_at_the_edge(block_size: int) -> int:
    """Tokens that are read again when a context is full: its newest half.

    They become the beginning of a new context, at whose first place the oldest of them stands, and half a context is
    free to go on in. Moving on by one token each time would mean to read the whole context again for every token,
    since each token's place changes.
    """
    return max(1, block_size // 2)


class Reader:
    """What could come next of one or more texts of the same length, which begin alike.

    In float32 even of a model that trains in bfloat16: rounding all weights for one token costs more than it saves.
    """

    def __init__(self, model: GPT, prompt: Sequence[int]) -> None:
        """prompt: at least one id; of more than a context only the end is read.

        Raises BadLogits where what the model says is not finite, as `read` does.
        """
        self._model = model
        self._cache = Cache(model.shape, model.device)
        self._ids = [list(prompt)[-model.shape.block_size :]]
        self.scores = self._begin()
        """(texts, vocabulary) in float32 on the CPU: for the token that comes next."""

    @property
    def seen(self) -> list[list[int]]:
        """The ids that the model sees of each text: its end, as much as a context holds now."""
        return self._ids

    def choose(self, texts: Sequence[int]) -> None:
        """Go on with these of the texts, in this order, each as often as it is named."""
        if list(texts) != list(range(len(self._ids))):
            self._cache.choose(texts)
            self._ids = [list(self._ids[text]) for text in texts]
            self.scores = self.scores[list(texts)]

    def read(self, tokens: Sequence[int]) -> None:
        """Add a token to each text."""
        for ids, token in zip(self._ids, tokens, strict=True):
            ids.append(token)
        block_size = self._model.shape.block_size
        if self._cache.length == block_size:
            kept = kept_at_the_edge(block_size)
            self._ids = [ids[-kept:] for ids in self._ids]
            self._cache.cut(0)
            self.scores = self._begin()
        else:
            with inference(self._model, dtype=torch.float32):
                fresh = torch.tensor([[token] for token in tokens], device=self._model.device)
                self.scores = self._scored(self._model.hidden(fresh, self._cache)[:, 0])

    def _begin(self) -> Tensor:
        """Read all texts from their first place."""
        length, most = len(self._ids[0]), self._model.shape.block_size
        padding = [0] * (min(most, -(-length // LENGTHS) * LENGTHS) - length)
        with inference(self._model, dtype=torch.float32):  # what comes behind a token changes nothing for it
            texts = torch.tensor([ids + padding for ids in self._ids], device=self._model.device)
            hidden = self._model.hidden(texts, self._cache)
            self._cache.cut(length)
            return self._scored(hidden[:, length - 1])

    def _scored(self, hidden: Tensor) -> Tensor:
        return finite(self._model.scores(hidden).cpu())
