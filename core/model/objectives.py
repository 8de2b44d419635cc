"""Training objectives: inputs and targets of windows of tokens, for next-token prediction and for masked models.

Masks are a pure function of (seed, step, index of the sequence in the batch of the step), as batches are: they do not
depend on micro-batches or ranks, and resuming needs nothing besides the step.
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

_UInt64s = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: its multiples modulo 2^64 are evenly spread, however many there are."""


class Examples(Struct, frozen=True):
    """Inputs and targets of a batch, on the CPU."""

    ids: Tensor
    """(B, T), int64."""
    targets: Tensor
    """(B, T), int64; IGNORE at positions without a loss."""
    weights: Tensor | None
    """(B, T), float32: of each position's loss; None: 1."""
    count: int
    """Divisor of the summed loss; of several batches, the divisor is the sum of theirs."""

    def micro_batches(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Ids, targets and weights on `device`, at most `size` sequences at a time."""
        for start in range(0, len(self.ids), size):
            rows = slice(start, start + size)
            weights = None if self.weights is None else self.weights[rows].to(device, non_blocking=True)
            yield (
                self.ids[rows].to(device, non_blocking=True),
                self.targets[rows].to(device, non_blocking=True),
                weights,
            )


class Objective:
    """The objective of a recipe: turns windows of tokens into examples."""

    def __init__(self, recipe: Train, *, mask_token_id: int | None) -> None:
        """mask_token_id: `GPT.mask_token_id`, the size of the vocabulary; None: a causal model."""
        self._recipe, self._mask_token_id = recipe, mask_token_id

    def __call__(self, windows: Tensor, *, step: int, indices: Sequence[int]) -> Examples:
        """Examples of `windows` (B, T + 1), int64.

        indices: (B,), of the sequences in the batch of the step over all ranks.
        """
        if self._mask_token_id is None:
            return next_token(windows)
        seed = self._recipe.seed
        if self._recipe.mask == "fixed":
            ratio = self._recipe.mask_ratio
            return bert_masking(windows, self._mask_token_id, ratio, seed=seed, step=step, indices=indices)
        return diffusion_masking(windows, self._mask_token_id, seed=seed, step=step, indices=indices)


def next_token(windows: Tensor) -> Examples:
    """Predict each token of `windows` (B, T + 1) but the first from those before it."""
    targets = windows[:, 1:]
    return Examples(windows[:, :-1], targets, None, targets.numel())


def diffusion_masking(windows: Tensor, mask_token_id: int, *, seed: int, step: int, indices: Sequence[int]) -> Examples:
    """Mask a random number of tokens in each sequence; the weighted mean loss is a variational bound (NELBO) per token.

    Masked diffusion (MDLM, arXiv 2406.07524) masks each token with probability t, uniform in (0, 1], and weights its
    loss by 1/t. Here the number of masked tokens is sampled instead: k uniform in 1..T, positions uniform, weight T/k.
    The expectation is the same (LLaDA, arXiv 2502.09992, eq. 14) without a smallest t, without sequences that mask
    nothing, and with less variance. It is the mean loss of unmasking a sequence token by token over all orders, hence
    by Jensen's inequality an upper bound on the negative log-likelihood. The k of a step are evenly spread, as the t of
    MDLM are. The first token of a window is no target, so that the targets are those of a causal model.
    """
    tokens = windows[:, 1:]
    B, T = tokens.shape
    base, keys = _keys(seed, step, indices)
    spread = base + np.asarray(indices, np.uint64) * _GOLDEN
    masked_count = (spread >> np.uint64(32)) * np.uint64(T) // np.uint64(2**32) + np.uint64(1)  # (B,), 1 to T
    masked = torch.from_numpy(_random_subset(_random_words(keys, T), masked_count))
    weight = torch.from_numpy(T / masked_count.astype(np.float64)).float()
    return Examples(
        tokens.masked_fill(masked, mask_token_id),
        tokens.masked_fill(~masked, IGNORE),
        weight[:, None].expand(B, T),
        tokens.numel(),
    )


def bert_masking(
    windows: Tensor, mask_token_id: int, ratio: float, *, seed: int, step: int, indices: Sequence[int]
) -> Examples:
    """Predict `ratio` of the tokens of each sequence, at least one, as BERT (arXiv 1810.04805, section 3.1).

    Of these tokens 80 % are masked, 10 % replaced by a random token, 10 % left unchanged. Their number is the same in
    every sequence, as in BERT's create_pretraining_data.py, rather than each token being selected with a probability.
    """
    tokens = windows[:, 1:]
    B, T = tokens.shape
    _, keys = _keys(seed, step, indices)
    counts = np.full(B, max(1, round(ratio * T)), np.uint64)
    selected = torch.from_numpy(_random_subset(_random_words(keys, T), counts))
    words = _random_words(_mix(keys), T)
    # the upper half of a word says what happens to the token, the lower half which token replaces it
    uniform = torch.from_numpy((words >> np.uint64(32)).astype(np.int64)) / 2**32
    other = torch.from_numpy(
        ((words & np.uint64(2**32 - 1)) * np.uint64(mask_token_id) >> np.uint64(32)).astype(np.int64)
    )
    ids = torch.where(uniform < 0.8, mask_token_id, torch.where(uniform < 0.9, other, tokens))
    return Examples(
        torch.where(selected, ids, tokens),
        tokens.masked_fill(~selected, IGNORE),
        None,
        int(counts.sum()),
    )


def _random_subset(words: _UInt64s, counts: _UInt64s) -> NDArray[np.bool_]:
    """(B, T): True at the `counts` (B,) smallest of `words` (B, T) in each row, a uniformly random subset."""
    limits = np.take_along_axis(np.sort(words, axis=1), counts.astype(np.int64)[:, None] - 1, axis=1)
    return np.asarray(words <= limits)


def _keys(seed: int, step: int, indices: Sequence[int]) -> tuple[_UInt64s, _UInt64s]:
    """A key (1,) of the step and one (B,) of each of its sequences."""
    base = _mix(_mix(np.array([seed % 2**64], np.uint64)) + np.uint64(step))
    return base, _mix(_mix(base) + np.asarray(indices, np.uint64))


def _random_words(keys: _UInt64s, length: int) -> _UInt64s:
    """(B, length) random 64-bit words from `keys` (B,)."""
    return _mix(keys[:, None] + np.arange(length, dtype=np.uint64) * _GOLDEN)


def _mix(words: _UInt64s) -> _UInt64s:
    """SplitMix64 (Steele, Lea & Flood 2014), a bijection of 64-bit words that looks random."""
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
