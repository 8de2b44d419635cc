"""The loss of a text: nats, tokens and bytes, and what follows from them."""

from __future__ import annotations

import math

from msgspec import Struct

from core.model.gpt import GPT
from core.model.objectives import Examples


class TextLoss(Struct, frozen=True):
    """Summed loss of the tokens of a text."""

    nats: float
    tokens: int
    bytes: int
    bound: bool = False
    """Whether `nats` estimates an upper bound, as of masked models; see `objectives.diffusion_masking`."""

    def __add__(self, other: TextLoss) -> TextLoss:
        return TextLoss(
            self.nats + other.nats, self.tokens + other.tokens, self.bytes + other.bytes, self.bound or other.bound
        )

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / max(1, self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """Comparable between vocabularies and with compressors.

        The bits include those of end-of-text tokens, the bytes do not.
        """
        return self.nats / math.log(2) / max(1, self.bytes)


def sum_nats(model: GPT, examples: Examples, batch_size: int) -> float:
    """Summed loss of `examples` in nats, `batch_size` sequences at a time. Call it within `inference`."""
    batches = examples.micro_batches(batch_size, model.device)
    return sum(model.loss(ids, targets, weights=weights).nats.item() for ids, targets, weights in batches)
