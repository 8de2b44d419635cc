"""In which pieces the large products are made: what the kernels go by, and the formula of their memory. No torch."""

from __future__ import annotations

from typing import Final

ROWS: Final = {"cpu": 512, "cuda": 8192, "mps": 2048}
"""Places whose scores the loss works out at once: few enough for the memory, enough for the products to be fast."""

IN_BLOCKS: Final = 2048
"""Tokens up to which attention goes by blocks on the CPU; beyond, the probabilities take too much memory."""


SHORT: Final = 128
"""Tokens up to which a block is all of them, so that nothing above the diagonal is skipped."""


def in_blocks(length: int, *, itemsize: int, dropout: bool) -> bool:
    """Whether attention on the CPU goes by blocks, rather than by torch's fused kernel.

    In float32 that kernel is as fast from 256 tokens on and faster below: forward and backward of 12 x 4 heads of 32 at
    64 tokens take 2.7 instead of 4.0 ms (two cores of Zen 3). It has no dropout on the CPU.
    """
    return length <= IN_BLOCKS and (itemsize < 4 or length > SHORT or dropout)


def block_rows(length: int) -> int:
    """Queries in a block of causal attention: small blocks skip more above the diagonal, large ones multiply faster."""
    return 128 if length <= 512 else 256
