"""The training batch of each step: a pure function of (seed, step, rank, world size), so resuming needs one integer.

The training tokens are cut into windows of block_size. An epoch visits each window once, in the order of a keyed
permutation, which needs no memory; every epoch cuts at another offset.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.errors import LlmtuiError
from core.plural import plural
from core.tokenize.shards import TokenStream


class TooFewTokensError(LlmtuiError):
    doing = "train"


def _key(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest(), "little")


def permute(index: npt.NDArray[np.uint64], size: int, seed: int) -> npt.NDArray[np.uint64]:
    """Images of `index` (each < size) under a pseudo-random permutation of 0..size-1 with key `seed`. O(1) memory.

    A four-round Feistel network over the next power of four, with cycle walking: a value >= size is permuted again
    until it is smaller (Black & Rogaway 2002, "Ciphers with arbitrary finite domains").
    """
    half = max(1, (max(2, size - 1).bit_length() + 1) // 2)
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    keys = [np.uint64(_key(seed, round_)) for round_ in range(4)]
    out = index.astype(np.uint64)
    walking = np.ones(out.shape, bool)
    with np.errstate(over="ignore"):
        while walking.any():
            left, right = out >> shift, out & mask
            for key in keys:
                mixed = (right + key) * np.uint64(0x9E3779B97F4A7C15)
                mixed ^= mixed >> np.uint64(29)
                mixed = mixed * np.uint64(0xBF58476D1CE4E5B9)
                mixed ^= mixed >> np.uint64(32)
                left, right = right, (left ^ mixed) & mask
            out = np.where(walking, (left << shift) | right, out)
            walking = out >= size
    return out


class Batches:
    """The training windows of one rank: every `world`-th of the `batch_size` windows of a step.

    The shares of two ranks may differ by one window. The windows of a step do not depend on `world`. Raises
    TooFewTokensError if the text is shorter than a window.
    """

    def __init__(
        self, tokens: TokenStream, *, block_size: int, batch_size: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        if len(tokens) <= block_size:
            raise TooFewTokensError(
                f"the training text has {plural(len(tokens), 'token')}, and one window needs {block_size + 1:,}",
                where="model.block_size",
                todo=f"use more text, or model.block_size = {max(1, len(tokens) // 8)} or less",
            )
        self._tokens, self._block, self._batch = tokens, block_size, batch_size
        self._seed, self._rank, self._world = seed, rank, world
        # one window less, so that epochs can start at different offsets
        self._windows = max(1, (len(tokens) - 1) // block_size - 1)

    def starts(self, step: int) -> list[int]:
        """Offsets in tokens of this rank's windows of the `step`-th batch."""
        first = step * self._batch
        positions = np.arange(first + self._rank, first + self._batch, self._world, dtype=np.uint64)
        epochs, within = np.divmod(positions, np.uint64(self._windows))
        starts = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            slack = len(self._tokens) - 1 - self._windows * self._block
            offset = _key(self._seed, "offset", int(epoch)) % (slack + 1)
            order = permute(within[chosen], self._windows, _key(self._seed, "order", int(epoch)))
            starts[chosen] = order.astype(np.int64) * self._block + offset
        return starts.tolist()

    def epoch(self, step: int) -> int:
        """The epoch, from 0, of the first window of the `step`-th batch."""
        return step * self._batch // self._windows

    def __call__(self, step: int) -> Tensor:
        """This rank's windows of the `step`-th batch: int64 (share of batch_size, block_size + 1), on the CPU."""
        windows = [self._tokens.window(start, self._block + 1) for start in self.starts(step)]
        return torch.from_numpy(np.stack(windows)) if windows else torch.empty((0, self._block + 1), dtype=torch.int64)
