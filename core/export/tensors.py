"""The tensors of a checkpoint, as an architecture of `transformers` has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from core.export.mappings import TensorMapping


def exported_tensors(
    mappings: Iterable[TensorMapping], read: Callable[[str], Tensor], dtype: torch.dtype = torch.float32
) -> Iterator[tuple[str, Tensor]]:
    """Name and contiguous tensor of each of `mappings`, one in memory at a time.

    read: returns our tensor of a name, as `safe_open(...).get_tensor` and a state dict do.
    """
    for mapping in mappings:
        yield mapping.name, exported_tensor(mapping, read, dtype)


def exported_tensor(
    mapping: TensorMapping, read: Callable[[str], Tensor], dtype: torch.dtype = torch.float32
) -> Tensor:
    """The tensor that `mapping` describes; `exported_tensors` for one."""
    if not mapping.source:
        return torch.full(mapping.size, mapping.constant, dtype=dtype)
    tensor = read(mapping.source)
    if mapping.rows is not None:
        tensor = tensor[slice(*mapping.rows)]
    if mapping.transposed:
        tensor = tensor.T
    if mapping.scale != 1:
        tensor = tensor * mapping.scale
    return tensor.to(dtype).contiguous()
