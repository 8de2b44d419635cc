"""Operations on lists of tensors in few kernels.

torch's own optimizers use these operators; it documents none of them, and a loop over 150 tensors launches 150
kernels. They change the tensors in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def multiply_(tensors: Sequence[Tensor], factor: float) -> None:
    """Multiply each tensor by `factor`."""
    torch._foreach_mul_(list(tensors), factor)


def copy_(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each of `sources` into the tensor of the same shape in `targets`."""
    torch._foreach_copy_(list(targets), list(sources))
