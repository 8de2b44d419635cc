"""Decoding with a KV cache: a causal model reads a prompt once, then each new token costs one position."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence

import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.model.kv_cache import KVCache
from core.sample.samplers import check_finite

PADDING_MULTIPLE = 32
"""Prompts are padded to a multiple of this: oneDNN caches a kernel for each length, which took 400 MB of a training's
memory after its first sample of 100 tokens."""


PREFILL_CHUNK = 128
"""Positions read in one forward pass, over all texts: GPT-2 takes 0.25 to 0.34 s for them on one core."""


def padded_length(length: int, max_length: int) -> int:
    """`length` rounded up to a multiple of `PADDING_MULTIPLE`, at most `max_length`."""
    return min(max_length, -(-length // PADDING_MULTIPLE) * PADDING_MULTIPLE)


def tokens_kept_when_full(block_size: int) -> int:
    """Tokens that are read again when the context is full: its newest half.

    They become the start of a new context, which leaves half a context for new tokens. Shifting the context by one
    token each time would mean reading all of it again for every token, as every position changes.
    """
    return max(1, block_size // 2)


class KVDecoder:
    """Next-token logits of one or more texts of equal length with a common prompt.

    In float32 even for models trained in bfloat16: converting all weights for one token costs more than it saves.
    """

    def __init__(self, model: GPT, prompt: Sequence[int], *, read_prompt: bool = True) -> None:
        """prompt: at least one id; truncated to the last block_size ids. read_prompt: False leaves that to `prefill`.

        Raises LogitsError if logits are not finite, as the other methods do.
        """
        self._model = model
        self._cache = KVCache(model.config, model.device)
        self._ids = [list(prompt)[-model.config.block_size :]]
        self.logits = torch.empty(0)
        """(texts, vocabulary) of the next token, float32 on the CPU."""
        if read_prompt:
            deque(self._read_context(), maxlen=0)

    @classmethod
    def prefill(cls, model: GPT, prompt: Sequence[int]) -> Generator[None, None, KVDecoder]:
        """A decoder that has read `prompt`. Yields after each chunk of it."""
        decoder = cls(model, prompt, read_prompt=False)
        yield from decoder._read_context()
        return decoder

    @property
    def context(self) -> list[list[int]]:
        """The ids of each text that are in the model's context: its last ones."""
        return self._ids

    def select(self, texts: Sequence[int]) -> None:
        """Continue with these texts, in this order; an index may occur several times or not at all."""
        if list(texts) != list(range(len(self._ids))):
            self._cache.select(texts)
            self._ids = [list(self._ids[text]) for text in texts]
            self.logits = self.logits[list(texts)]

    def append(self, tokens: Sequence[int]) -> None:
        """Append one token to each text."""
        deque(self.append_steps(tokens), maxlen=0)

    def append_steps(self, tokens: Sequence[int]) -> Iterator[None]:
        """As `append`; yields after each chunk when a full context has to be read again."""
        for ids, token in zip(self._ids, tokens, strict=True):
            ids.append(token)
        block_size = self._model.config.block_size
        if self._cache.length == block_size:
            kept = tokens_kept_when_full(block_size)
            self._ids = [ids[-kept:] for ids in self._ids]
            self._cache.crop(0)
            yield from self._read_context()
        else:
            with inference(self._model, dtype=torch.float32):
                new = torch.tensor([[token] for token in tokens], device=self._model.device)
                self.logits = self._logits(self._model.hidden_states(new, self._cache)[:, 0])

    def _read_context(self) -> Iterator[None]:
        """Read all texts from their first position."""
        length, block_size = len(self._ids[0]), self._model.config.block_size
        chunk = max(PADDING_MULTIPLE, PREFILL_CHUNK // len(self._ids) // PADDING_MULTIPLE * PADDING_MULTIPLE)
        for start in range(0, length, chunk):
            size = min(chunk, length - start)
            padding = [0] * (padded_length(size, block_size - start) - size)
            with inference(self._model, dtype=torch.float32):  # causal: padding after a token does not affect it
                texts = [ids[start : start + size] + padding for ids in self._ids]
                hidden_states = self._model.hidden_states(torch.tensor(texts, device=self._model.device), self._cache)
                self._cache.crop(start + size)
                if start + size == length:
                    self.logits = self._logits(hidden_states[:, size - 1])
                    return
            yield

    def _logits(self, hidden_states: Tensor) -> Tensor:
        return check_finite(self._model.logits(hidden_states).cpu())
