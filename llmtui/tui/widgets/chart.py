"""Line charts on a grid of braille dots, 2 wide and 4 high in each cell.

Textual's Sparkline and the plotting packages redraw whole widgets, with a truecolor sequence per cell: 7 to 134 kB for
an update at 118x30, where this sends 1.4 kB.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from core.runs.series import Series
from llmtui.tui.widgets.axes import Scale, dots_per_step, nice_step, scale_for, tick_label
from llmtui.tui.widgets.pane import Pane
from llmtui.view.lines import Line, Span, fits, spread

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille cell: the dots of its left and its right column, from the top."""
_SPANS = tuple([[sum(side[first : last + 1]) for last in range(4)] for first in range(4)] for side in _DOTS)
"""Bits of all dots of a column from one row to another, both included: `_SPANS[column][first][last]`."""
_LABEL_WIDTH = 6
"""Cells for the tick labels of the y axis: fixed, so that a longer label does not move the curve."""

SMOOTHING = (0.0, 0.6, 0.9, 0.98)
"""Weights of the past that the user can choose; 0 draws the values themselves."""


class Curve(NamedTuple):
    """One series as a chart shows it."""

    name: str
    series: Series
    role: str
    smoothing: float = 0.0
    """Weight of the past in a moving average, drawn over the values, which are dim then; 0 draws the values only."""
    marks: bool = False
    """Draw each value as • instead of a line."""


class Canvas:
    """A grid of braille cells, each of one role: where two curves meet, the later one takes the cell."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.width, self.height = columns * 2, rows * 4
        self._bits = [[0] * columns for _ in range(rows)]
        self._roles = [[""] * columns for _ in range(rows)]
        self._glyphs: list[dict[int, str]] = [{} for _ in range(rows)]

    def vertical_line(self, x: int, low: int, high: int, role: str) -> None:
        """Set the dots from `low` to `high` in column `x`, both included, counted from the bottom."""
        column, spans = x >> 1, _SPANS[x & 1]
        first, last = self.height - 1 - high, self.height - 1 - low
        for row in range(first >> 2, (last >> 2) + 1):
            if self._roles[row][column] != role:
                self._roles[row][column] = role
                self._bits[row][column] = 0
                self._glyphs[row].pop(column, None)
            above = 4 * row
            self._bits[row][column] |= spans[first - above if first > above else 0][min(3, last - above)]

    def glyph(self, x: int, y: int, glyph: str, role: str) -> None:
        """Put a character into the cell of the dot at (x, y)."""
        row, column = (self.height - 1 - y) >> 2, x >> 1
        self._roles[row][column] = role
        self._bits[row][column] = 0
        self._glyphs[row][column] = glyph

    def line(self, row: int) -> Line:
        """One row of cells, counted from the top."""
        spans: list[Span] = []
        glyphs, text, role = self._glyphs[row], "", ""
        for column, (bits, owner) in enumerate(zip(self._bits[row], self._roles[row], strict=True)):
            cell = chr(0x2800 + bits) if bits else glyphs.get(column, " ")
            if owner != role and cell != " ":
                if text:
                    spans.append((text, role))
                text, role = "", owner
            text += cell
        return [*spans, (text, role)]


class Column(NamedTuple):
    """The values of a series within one column of dots."""

    low: float
    high: float
    first: float
    last: float


Buckets = Iterable[tuple[tuple[float, float], float, float]]
"""((step, mean), lowest, highest) of each bucket of a series."""


class ColumnCache:
    """The columns of a curve, kept between two draws: while a run is active only the last bucket changes, and sorting
    a thousand buckets into columns for each of five curves took most of a tick."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._columns: dict[int, Column] = {}
        self._done = 0
        """Number of buckets in `_columns`."""

    def update(self, series: Series, layout: tuple[float, ...], buckets: Callable[[int], Buckets]) -> dict[int, Column]:
        """The columns of `series` by x, left to right.

        layout: dots per step, dots in all, and what else the values depend on. buckets: the buckets from an index on.
        """
        key = (series, series.revised, *layout)
        if key != self._key:
            self._key, self._columns, self._done = key, {}, 0
        last = len(series) - 1
        pace, width = layout[:2]
        edge = int(width) - 1
        columns = self._columns
        for number, ((step, value), low, high) in enumerate(buckets(self._done), self._done):
            if number == last:
                self._done, columns = last, dict(self._columns)
            x = min(edge, int(step * pace))
            known = columns.get(x)
            if known is None:
                columns[x] = Column(low, high, value, value)
            else:
                columns[x] = Column(min(low, known.low), max(high, known.high), known.first, value)
        return columns


class Chart(Pane):
    """Curves over training steps. Set `curves` and `finished`, then call `update`."""

    def __init__(self, title: str, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._title = title
        self.curves: list[Curve] = []
        self.logarithmic = False
        self.finished = False
        """Whether the run has ended: the curves then take the whole width."""
        self.unit = ""
        """Unit of the values, if the title does not say it."""
        self.placeholder = ""
        """Shown while there is nothing to draw."""
        self.format: Callable[[float], str] = "{:.3f}".format
        self.tick_format: Callable[[float, float], str] = tick_label
        """How a tick is written, given its value and the distance between ticks."""
        self._caches: defaultdict[tuple[str, bool], ColumnCache] = defaultdict(ColumnCache)
        """By name of a curve, and whether for its moving average."""

    def heading(self, width: int) -> Line:
        title: Line = [(self._title, "title")]
        legend: Line = []
        several = len(self.curves) > 1
        for curve in self.curves:
            if curve.series.last is None:
                continue
            glyph = "•" if curve.marks else "━" if curve.smoothing else "⠒"
            name = f" {curve.name}" if several else ""
            legend.append((f"  {glyph}{name} {self.format(curve.series.last)}" if several else "  ", curve.role))
            if not several:
                legend.append((self.format(curve.series.last), curve.role))
        smoothing = next((curve.smoothing for curve in self.curves if curve.smoothing), 0.0)
        marks = [f"smooth {smoothing:g}"] if smoothing else []
        marks += ["log"] if self.logarithmic else []
        options: Line = [(" · ".join(marks), "dim")]
        unit: Line = [(f", {self.unit}", "dim")] if self.unit else []
        # never cut: values first, then their unit, then smoothing and axis, as far as they fit
        if not fits([*title, *unit, *legend], width):
            unit = []
        line = [*title, *unit, *legend]
        return spread(line, options, width) if marks and width > 40 and fits([*line, *options], width - 1) else line

    def lines(self, width: int, height: int) -> list[Line]:
        drawn = [curve for curve in self.curves if len(curve.series)]
        if not drawn:
            return [[], [(self.placeholder, "dim")]] if height > 1 else [[(self.placeholder, "dim")]]
        if width < 20 or height < 4:
            return [[(f"{c.name} {self.format(c.series.last)}", c.role)] for c in drawn if c.series.last is not None]
        rows, columns = height - 1, width - _LABEL_WIDTH - 1
        canvas = Canvas(columns, rows)
        end = max(curve.series.end for curve in drawn)
        pace = dots_per_step(end, canvas.width, finished=self.finished)
        scale = scale_for(
            ((low, high) for c in drawn for low, high in zip(c.series.low, c.series.high, strict=True)),
            log=self.logarithmic,
        )
        for curve in drawn:
            self._draw(canvas, curve, scale, pace)
        return [
            *self._rows_with_axis(canvas, scale),
            _x_axis(canvas, pace, {s for c in drawn for s in c.series.broken}),
        ]

    def _rows_with_axis(self, canvas: Canvas, scale: Scale) -> Iterable[Line]:
        ticks = scale.ticks(max(5, canvas.rows // 3))
        step = min((b - a for a, b in itertools.pairwise(ticks)), default=abs(ticks[0]) if ticks else 1.0)
        labels = {
            canvas.rows - 1 - scale.to_dot(tick, canvas.height) // 4: self.tick_format(tick, step) for tick in ticks
        }
        for row in range(canvas.rows):
            label = labels.get(row, "")
            yield [(label.rjust(_LABEL_WIDTH) + ("┤" if label else "│"), "dim"), *canvas.line(row)]

    def _draw(self, canvas: Canvas, curve: Curve, scale: Scale, pace: float) -> None:
        series, to_dot = curve.series, scale.dot_mapper(canvas.height)
        if curve.marks:
            for step, value in series.means():
                canvas.glyph(_x(step, pace, canvas), to_dot(value), "•", curve.role)
            return
        gaps = {_x(step, pace, canvas) for step in series.broken}
        layout = pace, canvas.width

        def buckets(start: int) -> Buckets:
            return zip(series.means(start), series.low[start:], series.high[start:], strict=True)

        columns = self._caches[curve.name, False].update(series, layout, buckets)
        _polyline(canvas, columns, to_dot, "raw" if curve.smoothing else curve.role, gaps)
        for x, column in columns.items():
            if column.high > scale.high:
                canvas.glyph(x, canvas.height - 1, "▲", "warn")
        if curve.smoothing:
            smooth = series.smoothed(curve.smoothing, scale.transform, scale.inverse)

            def smoothed_buckets(start: int) -> Buckets:
                steps = (step for step, _ in series.means(start))
                return zip(zip(steps, smooth[start:], strict=True), smooth[start:], smooth[start:], strict=True)

            columns = self._caches[curve.name, True].update(
                series, (*layout, curve.smoothing, scale.log), smoothed_buckets
            )
            _polyline(canvas, columns, to_dot, curve.role, gaps)


def _x(step: float, pace: float, canvas: Canvas) -> int:
    return max(0, min(canvas.width - 1, int(step * pace)))


def _polyline(
    canvas: Canvas, columns: dict[int, Column], to_dot: Callable[[float], int], role: str, gaps: set[int]
) -> None:
    """Draw each column from its lowest to its highest value and join neighbours, except across `gaps`."""
    before: tuple[int, int] | None = None
    for x, column in columns.items():
        low, high = to_dot(column.low), to_dot(column.high)
        if before:
            start, level = before
            first = to_dot(column.first)
            if x == start + 1:
                # each takes half of the distance, so that a steep curve stays one line
                middle = (level + first) // 2
                low, high = min(low, middle), max(high, middle)
                if start not in gaps:
                    canvas.vertical_line(start, min(level, middle), max(level, middle), role)
            elif gaps.isdisjoint(range(start, x + 1)):
                for between in range(start + 1, x):
                    y = level + round((first - level) * (between - start) / (x - start))
                    canvas.vertical_line(between, y, y, role)
        if x not in gaps:
            canvas.vertical_line(x, low, high, role)
        before = (x, to_dot(column.last))


def _x_axis(canvas: Canvas, pace: float, broken: set[int]) -> Line:
    """The x axis: round steps as labels, and a cross where values were not finite."""
    step = nice_step(max(1.0, min(14, canvas.columns / 3) / (pace / 2)))
    cells = ["─"] * canvas.columns
    label, at = "0", 0
    number = 0
    while at + len(label) <= canvas.columns:
        cells[at : at + len(label)] = label
        number += 1
        label = f"{number * step:,.0f}"
        at = int(number * step * pace) // 2 - len(label) // 2
    for bad_step in broken:
        cells[_x(bad_step, pace, canvas) // 2] = "✗"
    axis = "".join(cells)
    spans: Line = [(" " * _LABEL_WIDTH + "└", "dim")]
    for i, part in enumerate(axis.split("✗")):
        spans += [("✗", "bad"), (part, "dim")] if i else [(part, "dim")]
    return spans
