"""Keys and values of what a model has read: a token behind it is then worked out alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.recipe.schema import Model


def kept_bytes(shape: Model) -> int:
    """Memory that one text takes when its context is full."""
    return 2 * shape.n_layer * (shape.n_kv_head or shape.n_head) * shape.block_size * (shape.n_embd // shape.n_head) * 4


class Kept:
    """Of one layer: of each text the keys and values of `length` places, in room for a whole context.

    In float32: for one query torch's attention takes 4 to 10 times as long in 16 bits (two cores, 12 heads of 64, 128
    to 1,024 places).
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        """keys, values: (texts, n_kv_head, block_size, size), with anything in them."""
        self.keys, self.values, self.length = keys, values, 0

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of the next places, (texts, n_kv_head, T, size); return those of all so far."""
        start, self.length = self.length, self.length + keys.shape[2]
        self.keys.narrow(2, start, keys.shape[2]).copy_(keys)
        self.values.narrow(2, start, keys.shape[2]).copy_(values)
        return self.keys.narrow(2, 0, self.length), self.values.narrow(2, 0, self.length)


class Cache:
    """Of all layers, for one or more texts that are read along together and are of one length."""

    def __init__(self, shape: Model, device: torch.device) -> None:
        """For one text; `choose` makes several of it."""
        size = shape.n_embd // shape.n_head
        room = (1, shape.n_kv_head or shape.n_head, shape.block_size, size)
        made = (torch.empty(2, *room, device=device) for _ in range(shape.n_layer))
        self.layers = [Kept(keys, values) for keys, values in made]

    @property
    def length(self) -> int:
        """Places that are kept."""
        return self.layers[0].length

    def cut(self, length: int) -> None:
        """Forget what lies behind the first `length` places."""
        for kept in self.layers:
            kept.length = min(kept.length, length)

    def choose(self, texts: Sequence[int]) -> None:
        """Go on with these of the texts, in this order, each as often as it is named."""
        for kept in self.layers:
            chosen = torch.tensor(list(texts), device=kept.keys.device)
            kept.keys, kept.values = (self._chosen(each, chosen, kept.length) for each in (kept.keys, kept.values))

    @staticmethod
    def _chosen(kept: Tensor, chosen: Tensor, length: int) -> Tensor:
        """Only the places in use are copied."""
        room = kept.new_empty(len(chosen), *kept.shape[1:])
        room[:, :, :length] = kept[chosen, :, :length]
        return room
