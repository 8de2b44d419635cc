"""The x axis of charts: steps, tokens or training time; the part of it that is shown; moving in it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import accumulate
from typing import NamedTuple

from core.runs.series import Series
from llmtui.view import units
from llmtui.view.axes import SMALLEST, Scale, nice_step

NARROWEST = 8.0
"""Steps of the narrowest window."""


class XKind(StrEnum):
    """What the x axis shows."""

    STEP = "steps"
    TOKENS = "tokens"
    TIME = "time"

    @property
    def next(self) -> XKind:
        """The one after this."""
        order = list(XKind)
        return order[(order.index(self) + 1) % len(order)]

    def label(self, value: float) -> str:
        """A position on this axis as text."""
        if self is XKind.STEP:
            return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
        return units.count(value) if self is XKind.TOKENS else units.duration(value)


class Positions:
    """Tokens or seconds by step, interpolated between the buckets of their series, from 0 at step 0."""

    def __init__(self, series: Series | None = None) -> None:
        """series: of tokens or seconds; None: the positions are the steps."""
        self.identity = series is None
        # the highest value of a bucket is that of its last step; the first and the last bucket have no middle
        ends = [min((number + 1) * series.span - 1, series.end) for number in series.index] if series else []
        # rising, or a step has no place: a clock that was set back would fold the curve over itself
        values = accumulate(series.high, max) if series else ()
        points = [(float(step), max(0.0, value)) for step, value in zip(ends, values, strict=True) if step > 0]
        self._steps = [0.0, *(step for step, _ in points)]
        self._values = [0.0, *(value for _, value in points)]

    def at(self, step: float) -> float:
        """The position of `step`."""
        return step if self.identity else _interpolated(self._steps, self._values, step)

    def step_at(self, position: float) -> float:
        """The step at `position`."""
        return position if self.identity else _interpolated(self._values, self._steps, position)


def _interpolated(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """The height at `x` of the line through the points (xs, ys), which is extended before and after them."""
    if len(xs) < 2:
        return 0.0
    right = min(max(1, bisect_right(xs, x)), len(xs) - 1)
    left = right - 1
    while left and xs[left] == xs[right]:
        left -= 1
    width = xs[right] - xs[left]
    share = (x - xs[left]) / width if width > 0 else 0.0
    return max(0.0, ys[left] + share * (ys[right] - ys[left]))


class Window(NamedTuple):
    """The steps that are shown. Without a width all of them; without an end the newest ones, as they come."""

    width: float | None = None
    end: float | None = None

    def bounds(self, last: float) -> tuple[float, float]:
        """The first and the last step shown of a run whose last step is `last`.

        A window that follows the newest steps moves on by an eighth of its width at a time: at every step it would
        redraw every row.
        """
        if self.width is None:
            return 0.0, max(1.0, last)
        end = self.end
        if end is None:
            stride = self.width / 8
            end = math.ceil(max(1.0, last) / stride) * stride
        end = max(end, min(self.width, last))
        return max(0.0, end - self.width), end


class XAxis(NamedTuple):
    """Positions on a row of dots: `dots_per_unit` for each unit from `low` on, of its logarithm where `log`."""

    kind: XKind
    low: float
    high: float
    log: bool
    dots_per_unit: float

    def dot(self, position: float) -> int:
        """The column of `position`; below 0 or beyond the last column if it is not shown."""
        return math.floor(self.distance(position))

    def distance(self, position: float) -> float:
        """The distance of `position` from the start of the axis, in columns."""
        return (self._transform(position) - self._transform(self.low)) * self.dots_per_unit

    def position(self, dot: float) -> float:
        """The position at a distance of `dot` columns from the start."""
        value = self._transform(self.low) + dot / self.dots_per_unit
        return math.exp(value) if self.log else value

    def _transform(self, value: float) -> float:
        return math.log(max(value, SMALLEST)) if self.log else value

    def ticks(self, limit: int) -> list[tuple[float, str]]:
        """About `limit` round positions and their labels."""
        if self.log and self.high / self.low > 5:
            return [(at, self.kind.label(at)) for at in Scale(self.low, self.high, log=True).ticks(limit)]
        raw = max(SMALLEST, (self.high - self.low) / max(1, limit))
        step = _nice_seconds(raw) if self.kind is XKind.TIME else nice_step(raw)
        if self.kind is XKind.STEP:
            step = max(1.0, step)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(number * step, self.kind.label(number * step)) for number in range(first, last + 1)]


def _nice_seconds(raw: float) -> float:
    """The smallest round number of seconds, minutes or hours that is not below `raw`."""
    if raw < 1:
        return nice_step(max(raw, SMALLEST))
    rounds = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
    return next((float(value) for value in rounds if value >= raw), 86400 * nice_step(raw / 86400))


def whole_axis(kind: XKind, first: float, end: float, dots: int, *, log: bool, finished: bool) -> XAxis:
    """An axis for all positions up to `end`, of which `first` is the smallest above 0.

    While the run is active (not finished) the width of a unit is a power of two or 4/3 of one: the curve grows into
    free space and its points stay where they are, until it reaches the edge and is compressed once.
    """
    if log:
        low = max(first, SMALLEST)
        ratio = math.log(1.5)
        high = max(1, math.ceil(math.log(max(end, low) / low) / ratio - 1e-9)) * ratio
        if finished and end > low * 1.01:
            high = math.log(end / low)
        return XAxis(kind, low, low * math.exp(high), True, (dots - 1) / high)
    # the last step has a column of its own
    exact = dots / max(1.0, end + 1) if kind is XKind.STEP else (dots - 1) / max(end, SMALLEST)
    pace = exact
    if not finished:
        power = 2.0 ** math.floor(math.log2(exact))
        pace = power * 4 / 3 if power * 4 / 3 <= exact else power
        if kind is XKind.STEP:
            pace = min(8.0, pace)
    return XAxis(kind, 0.0, dots / pace, False, pace)


def window_axis(kind: XKind, low: float, high: float, dots: int, *, log: bool) -> XAxis:
    """An axis from the position `low` to `high`."""
    high = max(high, low * (1 + 1e-9), low + SMALLEST)
    if log:
        low = max(low, high * 1e-6, SMALLEST)
        high = max(high, low * (1 + 1e-9))
        return XAxis(kind, low, high, True, (dots - 1) / math.log(high / low))
    return XAxis(kind, low, high, False, (dots - 1) / (high - low))


def zoomed(window: Window, factor: float, last: float, around: float | None = None) -> Window:
    """`window` with `factor` times its width, which keeps the step `around` in its place, or its newest step.

    last: the last step of the run. One that would show all steps follows the newest again.
    """
    first, end = (0.0, last) if window.width is None else window.bounds(last)
    width = max(NARROWEST, (end - first) * factor)
    if width >= last:
        return Window()
    if around is None:
        return Window(width, None if window.end is None else min(last, max(end, width)))
    share = (end - around) / max(end - first, 1.0)
    return _placed(width, around + share * width, last)


def panned(window: Window, share: float, last: float) -> Window:
    """`window` moved by a share of its width, to later steps if positive; at the end it follows the newest steps."""
    if window.width is None:
        return window
    _, end = window.bounds(last)
    if window.end is None and share > 0:
        return window
    return _placed(window.width, min(end, last) + share * window.width, last)


def containing(window: Window, step: float, last: float) -> Window:
    """`window`, moved if needed so that it shows `step`."""
    first, end = window.bounds(last)
    if window.width is None or first <= step <= end:
        return window
    return _placed(window.width, step + window.width / 2, last)


def _placed(width: float, end: float, last: float) -> Window:
    return Window(width) if end >= last else Window(width, max(end, min(width, last)))


def next_step(steps: Sequence[float], current: float, cells: int, column: Callable[[float], int]) -> float:
    """The step of a series that is `cells` cells from `current`, at least one: to the left if negative.

    steps: those of the series, rising. column: the dot column of a step.
    """
    if not steps:
        return current
    here, wanted = column(current), 2 * cells
    index = bisect_right(steps, current)
    if cells > 0:
        later = steps[index:]
        return next((step for step in later if column(step) - here >= wanted), later[-1] if later else current)
    earlier = [step for step in steps[:index] if step < current]
    return next((s for s in reversed(earlier) if column(s) - here <= wanted), earlier[0] if earlier else current)
