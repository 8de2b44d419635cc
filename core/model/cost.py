"""What a text costs under a model."""

from __future__ import annotations

import math

from msgspec import Struct

from core.model.gpt import GPT
from core.model.objectives import Examples


class Cost(Struct, frozen=True):
    """Of some tokens, each predicted from those before it, or as `examples.drawn` says."""

    nats: float
    tokens: int
    bytes: int
    bound: bool = False
    """Whether the text costs at most so much: an estimate of the bound that masked models have."""

    def __add__(self, other: Cost) -> Cost:
        """Of both texts."""
        return Cost(
            self.nats + other.nats, self.tokens + other.tokens, self.bytes + other.bytes, self.bound or other.bound
        )

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / max(1, self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """What a byte of the text costs under the model; comparable between vocabularies and with compressors.

        Predicting the end-of-text marks costs too, though they are no bytes of the text.
        """
        return self.nats / math.log(2) / max(1, self.bytes)


def nats(model: GPT, examples: Examples, batch_size: int) -> float:
    """What `examples` cost in all, so many sequences at a time. To be called within `inference`."""
    pieces = examples.micro_batches(batch_size, model.device)
    return sum(model.loss(ids, targets, weights=weights).nats.item() for ids, targets, weights in pieces)
