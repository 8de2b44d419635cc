"""ReLU² as xIELU (arXiv 2411.13010), the activation of Apertus in llama.cpp and mlx-lm. No torch.

xIELU is softplus(alpha_p) · x² + beta · x above zero, and beta · x + (beta + softplus(alpha_n)) · (exp(min(x, eps)) - 1
- x) below. Softplus of 64 is 64 and of -16384 is 0, so that of x / 8 it is ReLU(x)², exactly: powers of two round
nothing. A factor below 20 would not be exact. With the scale in down_proj instead, 32 · x² would leave float16's range
where x² does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from core.export.mappings import TensorMapping

XIELU: Final = {"alpha_n": -16384.0, "alpha_p": 64.0, "beta": 0.0, "eps": -1e-6}
UP_SCALE: Final = 1 / 8
"""Factor of up_proj with these constants."""


def scaled_for_xielu(mappings: Iterable[TensorMapping]) -> list[TensorMapping]:
    """The tensors of an Apertus, with the inputs of its activation divided by 8."""
    return [each._replace(scale=UP_SCALE) if each.name.endswith(".mlp.up_proj.weight") else each for each in mappings]
