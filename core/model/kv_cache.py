"""KV cache: keys and values of past positions, so that generating a token costs one position instead of all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.recipe.schema import Model


def kv_cache_bytes(config: Model) -> int:
    """Bytes of the cache of one sequence, which is allocated for a full context."""
    head_size = config.n_embd // config.n_head
    return 2 * config.n_layer * (config.n_kv_head or config.n_head) * config.block_size * head_size * 4


class KeyValues:
    """Keys and values of one layer: (B, n_kv_head, block_size, head_size), of which `length` positions are filled.

    Float32: with a single query torch's attention takes 4 to 10 times as long in 16 bits (two cores, 12 heads of 64,
    128 to 1,024 positions).
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        """keys, values: uninitialised buffers."""
        self.keys, self.values, self.length = keys, values, 0

    def update(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append those of the next T positions, (B, n_kv_head, T, head_size); return those of all positions so far."""
        start, self.length = self.length, self.length + keys.shape[2]
        self.keys.narrow(2, start, keys.shape[2]).copy_(keys)
        self.values.narrow(2, start, keys.shape[2]).copy_(values)
        return self.keys.narrow(2, 0, self.length), self.values.narrow(2, 0, self.length)


class KVCache:
    """The cache of all layers, for one or more sequences of the same length that are decoded together."""

    def __init__(self, config: Model, device: torch.device) -> None:
        """An empty cache for one sequence; `select` makes several of it."""
        head_size = config.n_embd // config.n_head
        size = (1, config.n_kv_head or config.n_head, config.block_size, head_size)
        buffers = (torch.empty(2, *size, device=device) for _ in range(config.n_layer))
        self.layers = [KeyValues(keys, values) for keys, values in buffers]

    @property
    def length(self) -> int:
        """Cached positions."""
        return self.layers[0].length

    def crop(self, length: int) -> None:
        """Drop the positions from `length` on."""
        for layer in self.layers:
            layer.length = min(layer.length, length)

    def select(self, sequences: Sequence[int]) -> None:
        """Continue with the sequences of these indices, in this order; an index may repeat."""
        for layer in self.layers:
            indices = torch.tensor(list(sequences), device=layer.keys.device)
            layer.keys, layer.values = (self._select(x, indices, layer.length) for x in (layer.keys, layer.values))

    @staticmethod
    def _select(buffer: Tensor, indices: Tensor, length: int) -> Tensor:
        """Copies the filled positions only."""
        out = buffer.new_empty(len(indices), *buffer.shape[1:])
        out[:, :, :length] = buffer[indices, :, :length]
        return out
