"""One curve of a chart, and the columns of dots it is drawn in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

from core.runs.series import Series
from llmtui.tui.widgets.canvas import Column
from llmtui.view.history import History
from llmtui.view.step_axis import Positions, XAxis


class Curve(NamedTuple):
    """One series as a chart shows it."""

    name: str
    series: Series
    role: str
    smoothing: float = 0.0
    """Weight of the past in a moving average, drawn over the values, which are dim then; 0 draws the values only."""
    marks: str = ""
    """Draw each value as this character instead of a line."""
    convert: Callable[[float], float] = float
    """Gives a value of the series in the unit of the chart; rising."""
    unit: str = ""
    """Names what `convert` does: a curve is drawn anew when it changes."""
    positions: Positions = Positions()
    """Of its run, on the x axis of the chart."""
    raw: bool = True
    """Draw the values behind the average."""
    band: bool = False
    """Draw the lowest and the highest values of each bucket as a dotted band, and their mean as a line."""
    approximate: bool = False
    """Whether `convert` is an approximation: the title says ≈."""
    glyph: str = ""
    """Of another run: stands for it in the title and at the end of the line."""
    quantity: str = ""
    """Of another run: what its values are, which the title does not say again."""
    in_legend: bool = True
    """Whether the title names it."""
    history: History | None = None
    """Of its run."""
    newest: float | None = None
    """The newest value of its run, if `series` is only a part of it."""

    def value_at(self, step: float, smoothed: list[float] | None = None) -> tuple[float, float] | None:
        """The step and the value of the bucket that contains `step`, or of the last one before it; None before the
        first. smoothed: take the value from there."""
        series = self.series
        index = bisect_right(series.index, int(step) // series.span) - 1
        if index < 0:
            return None
        at, mean = series.means(index, index + 1)[0]
        return at, smoothed[index] if smoothed else self.convert(mean)


Buckets = Iterable[tuple[float, float, float, float]]
"""Step, mean, lowest and highest value of each bucket of a series."""


class ColumnCache:
    """The columns of a curve, kept between two draws: while a run is active only the last bucket changes, and sorting
    a thousand buckets into columns for each of five curves took most of a tick."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._columns: dict[int, Column] = {}
        self._done = 0
        """Number of buckets in `_columns`."""

    def update(
        self, curve: Curve, axis: XAxis, layout: tuple[object, ...], dots: int, buckets: Callable[[int], Buckets]
    ) -> dict[int, Column]:
        """The columns of `curve` that are shown, by their dot column, left to right.

        layout: what else the values depend on. buckets: the buckets from an index on.
        """
        series, positions = curve.series, curve.positions
        # on an axis of tokens the place of an old step never changes, but the place of the last one may
        key = (series, series.revised, curve.unit, positions.identity, axis, layout, dots)
        if key != self._key:
            self._key, self._columns, self._done = key, {}, 0
        last = len(series) - 1
        columns = self._columns
        for number, (step, value, low, high) in enumerate(buckets(self._done), self._done):
            if number == last:
                self._done, columns = last, dict(self._columns)
            x = axis.dot(positions.at(step))
            if not 0 <= x < dots:
                continue
            known = columns.get(x)
            if known is None:
                columns[x] = Column(low, high, value, value)
            else:
                columns[x] = Column(min(low, known.low), max(high, known.high), known.first, value)
        return columns
