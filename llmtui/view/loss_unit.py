"""The units in which losses are shown: nats per token, bits per byte, perplexity."""

from __future__ import annotations

import math
from enum import StrEnum

from llmtui.view import units

_LARGEST = 690.0
"""exp of more is beyond `core.runs.series.LARGEST`."""


class LossUnit(StrEnum):
    """A unit of losses; its value is the name."""

    BITS = "bits per byte"
    NATS = "nats per token"
    PERPLEXITY = "perplexity"

    @property
    def short(self) -> str:
        """For lines with little space."""
        return {LossUnit.BITS: "bpb", LossUnit.PERPLEXITY: "ppl"}.get(self, self.value)

    def next(self, *, bits_known: bool) -> LossUnit:
        """The unit after this one. bits_known: whether losses can be given in bits per byte."""
        order = [unit for unit in LossUnit if bits_known or unit is not LossUnit.BITS]
        return order[(order.index(self) + 1) % len(order)] if self in order else order[0]

    def of_nats(self, nats: float, bits_per_nat: float | None) -> float:
        """A loss in nats per token in this unit. bits_per_nat: bits per byte for each nat per token."""
        if self is LossUnit.PERPLEXITY:
            return math.exp(min(nats, _LARGEST)) if nats > -_LARGEST else 0.0
        return nats * (bits_per_nat or 1.0) if self is LossUnit.BITS else nats

    def text(self, value: float, *, bound: bool = False) -> str:
        """`value`, which is in this unit: three decimals, or three digits of a perplexity."""
        if self is LossUnit.PERPLEXITY and abs(value) < 1e6:
            return f"{'≤' if bound else ''}{units.count(value) if value >= 1000 else f'{value:.4g}'}"
        return units.cost(value, bound=bound)
