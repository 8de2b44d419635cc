"""Where the ticks go: round numbers, linear or logarithmic, on a grid of braille dots."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

LEAST = 1e-12
"""What counts as zero: a logarithmic axis takes smaller values and negative ones for it."""


def nice_step(raw: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `raw`."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * (1 - 1e-9))


class Scale(NamedTuple):
    """One axis: values from `low` to `high`, on a logarithmic scale where `log`."""

    low: float
    high: float
    log: bool

    def at(self, value: float, dots: int) -> int:
        """Which of `dots` dots `value` falls on, 0 at `low`; what lies outside sticks to the edge."""
        return self.onto(dots)(value)

    def onto(self, dots: int) -> Callable[[float], int]:
        """`at` for many values: a third of the time of drawing went into measuring the ends anew for each."""
        top, base, into = dots - 1, self.into(self.low), self.into
        each = top / (into(self.high) - base)

        def place(value: float) -> int:
            dot = round((into(value) - base) * each)
            return 0 if dot < 0 else top if dot > top else dot

        return place

    def into(self, value: float) -> float:
        """`value` as the axis measures it."""
        return math.log(max(value, LEAST)) if self.log else value

    def back(self, measured: float) -> float:
        """The value that `into` measured."""
        return math.exp(measured) if self.log else measured

    def ticks(self, most: int) -> list[float]:
        """At most `most` round values on the axis; on a wide logarithmic one 1, 2, 5 of each power of ten."""
        if self.log and self.high / self.low > 5:
            exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for factors in ((1, 2, 5), (1, 3), (1,)):
                found = [f * 10.0**e for e in exponents for f in factors if self.low <= f * 10.0**e <= self.high]
                if len(found) <= most:
                    return found
            return found[:: math.ceil(len(found) / most)]
        step = nice_step((self.high - self.low) / max(1, most))
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def scale_for(values: Iterable[tuple[float, float]], *, log: bool) -> Scale:
    """An axis for (low, high) pairs. Its ends are rounded, so that a little news does not redraw everything.

    A few values far above the rest (spikes) do not stretch it: they are marked at its edge instead.
    """
    pairs = list(values)
    low = min(pair[0] for pair in pairs)
    highs = sorted(pair[1] for pair in pairs)
    high, usual = highs[-1], highs[int(0.98 * (len(highs) - 1))]
    if len(highs) >= 50 and high > usual + 1.5 * (usual - low):
        high = usual + 0.1 * (usual - low)
    if log:
        low, high = max(low, LEAST), max(high, LEAST)
        if high < low * 1.02:
            low, high = low / 1.1, high * 1.1
        rung = 1.1
        bottom, top = math.floor(math.log(low, rung)), math.ceil(math.log(high, rung))
        return Scale(rung**bottom, rung ** max(top, bottom + 1), log=True)
    if high - low < 1e-3 * max(abs(high), abs(low), LEAST):
        largest = max(abs(low), abs(high))
        room = 0.05 * (largest if largest > LEAST else 1.0)  # what is smaller is zero to the eye
        low, high = low - room, high + room
    step = nice_step((high - low) / 20)
    bottom, top = math.floor(low / step), math.ceil(high / step)
    return Scale(bottom * step, top * step, log=False)


def dots_per_step(end: int, dots: int, *, whole: bool) -> float:
    """How many dots wide one step is so that steps 0 to `end` fit into `dots`.

    While a run goes on (not whole) only values from a ladder of powers of two and their halfway points are taken:
    the curve grows into free space and what is drawn stays where it is, until it is full and moves together once.
    """
    exact = dots / max(1, end + 1)
    if whole:
        return exact
    power = 2.0 ** math.floor(math.log2(exact))
    return min(8.0, power * 4 / 3 if power * 4 / 3 <= exact else power)


def scientific(value: float) -> str:
    """`value` in two digits: 4.4e-4."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def tick_label(value: float, step: float) -> str:
    """`value` with as many digits as ticks `step` apart need; small ones as 5e-4."""
    if value == 0:
        return "0"
    if abs(value) < 0.01 or abs(value) >= 1e5:
        return scientific(value)
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value:.{min(digits, 4)}f}"
