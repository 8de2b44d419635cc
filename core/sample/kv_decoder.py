"""A causal model reads a text once and then goes on token by token."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence

import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.model.kv_cache import KVCache
from core.sample.samplers import finite

LENGTHS = 32
"""A text is filled up to a multiple of this when it is read: oneDNN keeps a program for each length it has met, which
took 400 MB of a training's memory after its first sample of 100 tokens."""


PIECE = 128
"""Places read in one go, of all texts together: GPT-2 takes 0.25 to 0.34 s for them on one core."""


def filled(length: int, most: int) -> int:
    """`length` up to a multiple of `LENGTHS`, at most `most`."""
    return min(most, -(-length // LENGTHS) * LENGTHS)


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

    def __init__(self, model: GPT, prompt: Sequence[int], *, begun: bool = True) -> None:
        """prompt: at least one id; of more than a context only the end is read. begun: it is read at once.

        Raises LogitsError where what the model says is not finite, as the others do.
        """
        self._model = model
        self._cache = KVCache(model.config, model.device)
        self._ids = [list(prompt)[-model.config.block_size :]]
        self.scores = torch.empty(0)
        """(texts, vocabulary) in float32 on the CPU: for the token that comes next."""
        if begun:
            deque(self._begin(), maxlen=0)

    @classmethod
    def in_pieces(cls, model: GPT, prompt: Sequence[int]) -> Generator[None, None, Reader]:
        """One that has read `prompt`. Others may go on where it yields."""
        reader = cls(model, prompt, begun=False)
        yield from reader._begin()
        return reader

    @property
    def seen(self) -> list[list[int]]:
        """The ids that the model sees of each text: its end, as much as a context holds now."""
        return self._ids

    def choose(self, texts: Sequence[int]) -> None:
        """Go on with these of the texts, in this order, each as often as it is named."""
        if list(texts) != list(range(len(self._ids))):
            self._cache.select(texts)
            self._ids = [list(self._ids[text]) for text in texts]
            self.scores = self.scores[list(texts)]

    def read(self, tokens: Sequence[int]) -> None:
        """Add a token to each text."""
        deque(self.reading(tokens), maxlen=0)

    def reading(self, tokens: Sequence[int]) -> Iterator[None]:
        """The same; where a context is full and half of it has to be read again, others may go on meanwhile."""
        for ids, token in zip(self._ids, tokens, strict=True):
            ids.append(token)
        block_size = self._model.config.block_size
        if self._cache.length == block_size:
            kept = kept_at_the_edge(block_size)
            self._ids = [ids[-kept:] for ids in self._ids]
            self._cache.crop(0)
            yield from self._begin()
        else:
            with inference(self._model, dtype=torch.float32):
                fresh = torch.tensor([[token] for token in tokens], device=self._model.device)
                self.scores = self._scored(self._model.hidden_states(fresh, self._cache)[:, 0])

    def _begin(self) -> Iterator[None]:
        """Read all texts from their first place."""
        length, most = len(self._ids[0]), self._model.config.block_size
        piece = max(LENGTHS, PIECE // len(self._ids) // LENGTHS * LENGTHS)
        for start in range(0, length, piece):
            size = min(piece, length - start)
            padding = [0] * (filled(size, most - start) - size)
            with inference(self._model, dtype=torch.float32):  # what comes behind a token changes nothing for it
                texts = [ids[start : start + size] + padding for ids in self._ids]
                hidden = self._model.hidden_states(torch.tensor(texts, device=self._model.device), self._cache)
                self._cache.crop(start + size)
                if start + size == length:
                    self.scores = self._scored(hidden[:, size - 1])
                    return
            yield

    def _scored(self, hidden: Tensor) -> Tensor:
        return finite(self._model.logits(hidden).cpu())
