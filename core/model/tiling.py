"""Tile sizes of attention and loss; the kernels and the memory formula share them. Imports no torch."""

from __future__ import annotations

from typing import Final

ROWS: Final = {"cpu": 512, "cuda": 8192, "mps": 2048}
"""Positions whose logits the loss computes at once: few enough for the memory, enough for fast products."""

MAX_BLOCKED_LENGTH: Final = 2048
"""Tokens up to which the CPU computes attention in blocks; above, the attention weights take too much memory."""

MIN_BLOCKED_LENGTH: Final = 128
"""Tokens up to which one block is the whole sequence, so that nothing above the diagonal is skipped."""


def in_blocks(length: int, *, itemsize: int, dropout: bool) -> bool:
    """Whether the CPU computes attention in blocks, rather than by torch's fused kernel.

    In float32 the fused kernel is as fast from 256 tokens on and faster below: forward and backward of 12 x 4 heads of
    size 32 at 64 tokens take 2.7 instead of 4.0 ms (two cores of Zen 3). It has no dropout on the CPU.
    """
    return length <= MAX_BLOCKED_LENGTH and (itemsize < 4 or length > MIN_BLOCKED_LENGTH or dropout)


def block_rows(length: int) -> int:
    """Queries per block of causal attention: small blocks skip more above the diagonal, large ones multiply faster."""
    return 128 if length <= 512 else 256
