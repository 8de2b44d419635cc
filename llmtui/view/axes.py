"""Axes of charts: linear and logarithmic scales with round ticks, on a grid of braille dots."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

SMALLEST = 1e-12
"""A logarithmic axis shows smaller values, and negative ones, as this."""


def nice_step(raw: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `raw`."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * (1 - 1e-9))


class Scale(NamedTuple):
    """One axis: values from `low` to `high`, on a logarithmic scale where `log`."""

    low: float
    high: float
    log: bool

    def to_dot(self, value: float, dots: int) -> int:
        """The index of `value` among `dots` dots, 0 at `low`, clamped to the axis."""
        return self.dot_mapper(dots)(value)

    def dot_mapper(self, dots: int) -> Callable[[float], int]:
        """`to_dot` for many values: transforming the ends again for each took a third of the time of drawing."""
        top, base, transform = dots - 1, self.transform(self.low), self.transform
        dots_per_unit = top / (transform(self.high) - base)

        def to_dot(value: float) -> int:
            dot = round((transform(value) - base) * dots_per_unit)
            return 0 if dot < 0 else top if dot > top else dot

        return to_dot

    def transform(self, value: float) -> float:
        """`value` in the units of the axis: its logarithm on a logarithmic one."""
        return math.log(max(value, SMALLEST)) if self.log else value

    def inverse(self, transformed: float) -> float:
        """The inverse of `transform`."""
        return math.exp(transformed) if self.log else transformed

    def at(self, share: float) -> float:
        """The value at a share of the axis, 0 at `low`."""
        low, high = self.transform(self.low), self.transform(self.high)
        return self.inverse(low + share * (high - low))

    def ticks(self, limit: int) -> list[float]:
        """About `limit` round values on the axis; on a wide logarithmic one 1, 2, 5 times powers of ten."""
        if self.log and self.high / self.low > 5:
            exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for factors in ((1, 2, 5), (1, 3), (1,)):
                found = [f * 10.0**e for e in exponents for f in factors if self.low <= f * 10.0**e <= self.high]
                if len(found) <= limit:
                    return found
            return found[:: math.ceil(len(found) / limit)]
        step = nice_step((self.high - self.low) / max(1, limit))
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def scale_for(values: Iterable[tuple[float, float]], *, log: bool, robust: bool = True) -> Scale:
    """An axis for (low, high) pairs. Its ends are rounded, so that new values rarely change it.

    robust: a few values far above the rest (spikes) do not extend it: the chart marks them at its edge instead.
    """
    pairs = list(values)
    low = min(pair[0] for pair in pairs)
    highs = sorted(pair[1] for pair in pairs)
    high, usual = highs[-1], highs[int(0.98 * (len(highs) - 1))]
    if robust and len(highs) >= 50 and high > usual + 1.5 * (usual - low):
        high = usual + 0.1 * (usual - low)
    if log:
        low, high = max(low, SMALLEST), max(high, SMALLEST)
        if high < low * 1.02:
            low, high = low / 1.1, high * 1.1
        ratio = 1.1
        bottom, top = math.floor(math.log(low, ratio)), math.ceil(math.log(high, ratio))
        return Scale(ratio**bottom, ratio ** max(top, bottom + 1), log=True)
    if high - low < 1e-3 * max(abs(high), abs(low), SMALLEST):
        largest = max(abs(low), abs(high))
        margin = 0.05 * (largest if largest > SMALLEST else 1.0)
        low, high = low - margin, high + margin
    step = nice_step((high - low) / 20)
    bottom, top = math.floor(low / step), math.ceil(high / step)
    return Scale(bottom * step, top * step, log=False)


def scientific(value: float) -> str:
    """`value` with two significant digits: 4.4e-4."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def tick_label(value: float, step: float) -> str:
    """`value` with as many decimals as ticks at a distance of `step` need; small and large ones like 5e-4."""
    if value == 0:
        return "0"
    if abs(value) < 0.01 or abs(value) >= 1e5:
        return scientific(value)
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value:.{min(digits, 4)}f}"
