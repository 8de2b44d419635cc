"""What a step of training predicts: the next token of each place, or tokens that are hidden from the model.

What is hidden is a pure function of (seed, step, index of the sequence in the step's batch), as the batches are: it
does not depend on how a batch is cut into pieces or spread over ranks, and a resume needs nothing besides the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

from core.model.loss import IGNORE
from core.recipe.schema import Train

_Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: its multiples, taken modulo 2^64, lie evenly however many there are."""


class Examples(Struct, frozen=True):
    """What the model is given and what it has to say; lies on the CPU."""

    ids: Tensor
    """(B, T), int64."""
    targets: Tensor
    """(B, T), int64: the tokens asked for, IGNORE where nothing is."""
    weights: Tensor | None
    """(B, T), float32: what each loss counts; None: all alike."""
    count: int
    """What the sum of all their losses is divided by; where a step has several examples, by the sum of this."""

    def pieces(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Ids, targets and weights on `device`, at most `size` sequences at a time."""
        for at in range(0, len(self.ids), size):
            some = slice(at, at + size)
            weights = None if self.weights is None else self.weights[some].to(device, non_blocking=True)
            yield (
                self.ids[some].to(device, non_blocking=True),
                self.targets[some].to(device, non_blocking=True),
                weights,
            )


class Objective:
    """How a recipe makes examples of windows of text."""

    def __init__(self, recipe: Train, *, mask: int | None) -> None:
        """mask: the id of what is hidden, which is the vocabulary's size (`GPT.mask`); None: a causal model."""
        self._recipe, self._mask = recipe, mask

    def __call__(self, windows: Tensor, *, step: int, indices: Sequence[int]) -> Examples:
        """Examples of `windows` (B, T + 1), int64.

        indices: which sequences of the step's batch, that of all ranks, they are (B,).
        """
        if self._mask is None:
            return causal(windows)
        if self._recipe.mask == "fixed":
            share = self._recipe.mask_share
            return fixed(windows, self._mask, share, seed=self._recipe.seed, step=step, indices=indices)
        return drawn(windows, self._mask, seed=self._recipe.seed, step=step, indices=indices)


def causal(windows: Tensor) -> Examples:
    """Every token of `windows` (B, T + 1) but the first, from those before it."""
    targets = windows[:, 1:]
    return Examples(windows[:, :-1], targets, None, targets.numel())


def drawn(windows: Tensor, mask: int, *, seed: int, step: int, indices: Sequence[int]) -> Examples:
    """Hide a share drawn for each sequence; weighted so that the mean is a bound on the nats per token.

    Masked diffusion (MDLM, arXiv 2406.07524) hides each token with a probability t drawn from (0, 1] and weights its
    loss by 1/t. Here the number hidden is drawn instead, k from 1 to T alike, which ones at random, with weight T/k:
    the same expectation (LLaDA, arXiv 2502.09992, eq. 14) without a smallest t, without sequences that hide nothing,
    and with less spread. It is the mean over all orders of what a sequence costs when it is uncovered one by one, so
    by Jensen's inequality at least the cost under the model that draws the order, too. The k of a step lie evenly, as
    the t of MDLM do. The first token of a window is left out: what is scored is what a causal model is scored on.
    """
    tokens = windows[:, 1:]
    count, length = tokens.shape
    base, keys = _keys(seed, step, indices)
    even = base + np.asarray(indices, np.uint64) * _GOLDEN
    hidden_count = (even >> np.uint64(32)) * np.uint64(length) // np.uint64(2**32) + np.uint64(1)
    hidden = torch.from_numpy(_choose(_words(keys, length), hidden_count))
    weight = torch.from_numpy(length / hidden_count.astype(np.float64)).float()
    return Examples(
        tokens.masked_fill(hidden, mask),
        tokens.masked_fill(~hidden, IGNORE),
        weight[:, None].expand(count, length),
        tokens.numel(),
    )


def fixed(windows: Tensor, mask: int, share: float, *, seed: int, step: int, indices: Sequence[int]) -> Examples:
    """Ask for `share` of each sequence, at least for one token: as BERT (arXiv 1810.04805), 3.1.

    Of the tokens asked for 80 % are hidden, 10 % replaced by any of the vocabulary, 10 % left. As in BERT's own
    create_pretraining_data.py so many are chosen in every sequence, rather than each with that probability.
    """
    tokens = windows[:, 1:]
    count, length = tokens.shape
    _, keys = _keys(seed, step, indices)
    asked = np.full(count, max(1, round(share * length)), np.uint64)
    chosen = torch.from_numpy(_choose(_words(keys, length), asked))
    fates = _words(_mixed(keys), length)
    fate = torch.from_numpy((fates >> np.uint64(32)).astype(np.int64)) / 2**32
    other = torch.from_numpy(((fates & np.uint64(2**32 - 1)) * np.uint64(mask) >> np.uint64(32)).astype(np.int64))
    ids = torch.where(fate < 0.8, mask, torch.where(fate < 0.9, other, tokens))
    return Examples(
        torch.where(chosen, ids, tokens),
        tokens.masked_fill(~chosen, IGNORE),
        None,
        int(asked.sum()),
    )


def _choose(words: _Words, counts: _Words) -> NDArray[np.bool_]:
    """(B, T): in each row the places of the `counts` (B,) smallest of `words` (B, T); each set of them is as likely."""
    limits = np.take_along_axis(np.sort(words, axis=1), counts.astype(np.int64)[:, None] - 1, axis=1)
    return np.asarray(words <= limits)


def _keys(seed: int, step: int, indices: Sequence[int]) -> tuple[_Words, _Words]:
    """A word (1,) for the step and one (B,) for each of its sequences."""
    base = _mixed(_mixed(np.array([seed % 2**64], np.uint64)) + np.uint64(step))
    return base, _mixed(_mixed(base) + np.asarray(indices, np.uint64))


def _words(keys: _Words, length: int) -> _Words:
    """`length` random words for each of `keys` (B,): (B, length)."""
    return _mixed(keys[:, None] + np.arange(length, dtype=np.uint64) * _GOLDEN)


def _mixed(words: _Words) -> _Words:
    """SplitMix64 (Steele, Lea & Flood 2014): any two different words become two that look unrelated."""
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
