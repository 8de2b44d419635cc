"""In which pieces the large products are made: what the kernels go by, and the formula of their memory. No torch."""

from __future__ import annotations

from typing import Final

ROWS: Final = {"cpu": 512, "cuda": 8192, "mps": 2048}
"""Places whose scores the loss works out at once: few enough for the memory, enough for the products to be fast."""

IN_BLOCKS: Final = 2048
"""Tokens up to which attention goes by blocks on the CPU; beyond, the probabilities take too much memory."""


def block_rows(length: int) -> int:
    """Queries in a block of causal attention: small blocks skip more above the diagonal, large ones multiply faster."""
    return 128 if length <= 512 else 256
