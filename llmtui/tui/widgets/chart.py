"""Line charts on a grid of braille dots, 2 wide and 4 high in each cell.

Sparkline and the plotting packages redraw whole widgets, a truecolor sequence per cell: 7 to 134 kB an update where
this needs 1.4 kB at 118x30.
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
"""Bits of a braille cell: its left and its right dots from the top."""
_RUNS = tuple([[sum(side[first : last + 1]) for last in range(4)] for first in range(4)] for side in _DOTS)
"""The same for all dots between two, both included."""
_LABELS = 6
"""Cells for the numbers of the y axis: fixed, so that a longer number does not move the curve."""

SMOOTHING = (0.0, 0.6, 0.9, 0.98)
"""Weights of the past to choose from; 0 draws the values themselves."""


class Curve(NamedTuple):
    """One series as a chart shows it."""

    name: str
    series: Series
    role: str
    smoothing: float = 0.0
    """Above 0: drawn as a moving average over the values, which stay visible behind it, dim."""
    marks: bool = False
    """Drawn as • marks: few values, each worth seeing."""


class Canvas:
    """Cells of braille; where two series meet, the later one takes the cell, so that colours do not bleed."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.width, self.height = columns * 2, rows * 4
        self._bits = [[0] * columns for _ in range(rows)]
        self._owner = [[""] * columns for _ in range(rows)]
        self._glyphs: list[dict[int, str]] = [{} for _ in range(rows)]

    def upright(self, x: int, low: int, high: int, role: str) -> None:
        """A column of dots from `low` to `high`, counted from the bottom."""
        column, runs = x >> 1, _RUNS[x & 1]
        first, last = self.height - 1 - high, self.height - 1 - low
        for row in range(first >> 2, (last >> 2) + 1):
            if self._owner[row][column] != role:
                self._owner[row][column] = role
                self._bits[row][column] = 0
                self._glyphs[row].pop(column, None)
            above = 4 * row
            self._bits[row][column] |= runs[first - above if first > above else 0][min(3, last - above)]

    def glyph(self, x: int, y: int, glyph: str, role: str) -> None:
        """A character in the cell of that dot."""
        row, column = (self.height - 1 - y) >> 2, x >> 1
        self._owner[row][column] = role
        self._bits[row][column] = 0
        self._glyphs[row][column] = glyph

    def line(self, row: int) -> Line:
        """One row of cells as spans."""
        spans: list[Span] = []
        glyphs, text, role = self._glyphs[row], "", ""
        for column, (bits, owner) in enumerate(zip(self._bits[row], self._owner[row], strict=True)):
            cell = chr(0x2800 + bits) if bits else glyphs.get(column, " ")
            if owner != role and cell != " ":
                if text:
                    spans.append((text, role))
                text, role = "", owner
            text += cell
        return [*spans, (text, role)]


class Column(NamedTuple):
    """What falls into one column of dots."""

    low: float
    high: float
    first: float
    last: float


Buckets = Iterable[tuple[tuple[float, float], float, float]]
"""Of each bucket of a series its step and its value, and the lowest and the highest behind that."""


class Columns:
    """A series by columns of dots, left to right. What is there is kept for the next time: while a run goes on only
    the last bucket changes, and sorting a thousand into columns for each of five curves took most of a tick."""

    def __init__(self) -> None:
        self._of: tuple[object, ...] = ()
        self._kept: dict[int, Column] = {}
        self._done = 0
        """Buckets in it."""

    def now(self, series: Series, drawn: tuple[float, ...], buckets: Callable[[int], Buckets]) -> dict[int, Column]:
        """drawn: dots a step and dots in all, and what else the values depend on. buckets: those from a number on."""
        of = (series, series.revised, *drawn)
        if of != self._of:
            self._of, self._kept, self._done = of, {}, 0
        last = len(series) - 1
        pace, width = drawn[:2]
        edge = int(width) - 1
        columns = self._kept
        for number, ((step, value), low, high) in enumerate(buckets(self._done), self._done):
            if number == last:
                self._done, columns = last, dict(self._kept)
            x = min(edge, int(step * pace))
            known = columns.get(x)
            if known is None:
                columns[x] = Column(low, high, value, value)
            else:
                columns[x] = Column(min(low, known.low), max(high, known.high), known.first, value)
        return columns


class Chart(Pane):
    """Curves over steps. Set `curves` and `whole`, then `update`."""

    def __init__(self, name: str, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._quantity = name
        self.curves: list[Curve] = []
        self.logarithmic = False
        self.whole = False
        """The run has ended: use the whole width."""
        self.unit = ""
        """Of the values, where the name does not say it."""
        self.empty = ""
        """What to say while there is nothing to draw."""
        self.format: Callable[[float], str] = "{:.3f}".format
        self.label: Callable[[float, float], str] = tick_label
        """How a tick is written, given the distance between ticks."""
        self._columns: defaultdict[tuple[str, bool], Columns] = defaultdict(Columns)
        """Of each curve, and of its moving average, what was there when it was last drawn."""

    def heading(self, width: int) -> Line:
        title: Line = [(self._quantity, "title")]
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
        said: Line = [(" · ".join(marks), "dim")]
        unit: Line = [(f", {self.unit}", "dim")] if self.unit else []
        # whole or not at all: the figures first, then their unit, then how they are drawn
        if not fits([*title, *unit, *legend], width):
            unit = []
        line = [*title, *unit, *legend]
        return spread(line, said, width) if marks and width > 40 and fits([*line, *said], width - 1) else line

    def lines(self, width: int, height: int) -> list[Line]:
        drawn = [curve for curve in self.curves if len(curve.series)]
        if not drawn:
            return [[], [(self.empty, "dim")]] if height > 1 else [[(self.empty, "dim")]]
        if width < 20 or height < 4:
            return [[(f"{c.name} {self.format(c.series.last)}", c.role)] for c in drawn if c.series.last is not None]
        rows, columns = height - 1, width - _LABELS - 1
        canvas = Canvas(columns, rows)
        end = max(curve.series.end for curve in drawn)
        pace = dots_per_step(end, canvas.width, whole=self.whole)
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
        labels = {canvas.rows - 1 - scale.at(tick, canvas.height) // 4: self.label(tick, step) for tick in ticks}
        for row in range(canvas.rows):
            label = labels.get(row, "")
            yield [(label.rjust(_LABELS) + ("┤" if label else "│"), "dim"), *canvas.line(row)]

    def _draw(self, canvas: Canvas, curve: Curve, scale: Scale, pace: float) -> None:
        series, at = curve.series, scale.onto(canvas.height)
        if curve.marks:
            for step, value in series.means():
                canvas.glyph(_x(step, pace, canvas), at(value), "•", curve.role)
            return
        gaps = {_x(step, pace, canvas) for step in series.broken}
        drawn = pace, canvas.width

        def reached(start: int) -> Buckets:
            return zip(series.means(start), series.low[start:], series.high[start:], strict=True)

        columns = self._columns[curve.name, False].now(series, drawn, reached)
        _polyline(canvas, columns, at, "raw" if curve.smoothing else curve.role, gaps)
        for x, column in columns.items():
            if column.high > scale.high:
                canvas.glyph(x, canvas.height - 1, "▲", "warn")
        if curve.smoothing:
            smooth = series.smoothed(curve.smoothing, scale.into, scale.back)

            def smoothed(start: int) -> Buckets:
                steps = (step for step, _ in series.means(start))
                return zip(zip(steps, smooth[start:], strict=True), smooth[start:], smooth[start:], strict=True)

            columns = self._columns[curve.name, True].now(series, (*drawn, curve.smoothing, scale.log), smoothed)
            _polyline(canvas, columns, at, curve.role, gaps)


def _x(step: float, pace: float, canvas: Canvas) -> int:
    return max(0, min(canvas.width - 1, int(step * pace)))


def _polyline(
    canvas: Canvas, columns: dict[int, Column], at: Callable[[float], int], role: str, gaps: set[int]
) -> None:
    """Draw each column's whole span and join neighbours, except across `gaps`."""
    before: tuple[int, int] | None = None
    for x, column in columns.items():
        low, high = at(column.low), at(column.high)
        if before:
            start, level = before
            first = at(column.first)
            if x == start + 1:
                # meet half way, so that a steep fall stays one line
                middle = (level + first) // 2
                low, high = min(low, middle), max(high, middle)
                if start not in gaps:
                    canvas.upright(start, min(level, middle), max(level, middle), role)
            elif gaps.isdisjoint(range(start, x + 1)):
                for between in range(start + 1, x):
                    y = level + round((first - level) * (between - start) / (x - start))
                    canvas.upright(between, y, y, role)
        if x not in gaps:
            canvas.upright(x, low, high, role)
        before = (x, at(column.last))


def _x_axis(canvas: Canvas, pace: float, broken: set[int]) -> Line:
    """The line under the chart: round steps, and a cross where values were not finite."""
    step = nice_step(max(1.0, min(14, canvas.columns / 3) / (pace / 2)))
    cells = ["─"] * canvas.columns
    label, at = "0", 0
    number = 0
    while at + len(label) <= canvas.columns:
        cells[at : at + len(label)] = label
        number += 1
        label = f"{number * step:,.0f}"
        at = int(number * step * pace) // 2 - len(label) // 2
    for wrong in broken:
        cells[_x(wrong, pace, canvas) // 2] = "✗"
    axis = "".join(cells)
    spans: Line = [(" " * _LABELS + "└", "dim")]
    for i, part in enumerate(axis.split("✗")):
        spans += [("✗", "bad"), (part, "dim")] if i else [(part, "dim")]
    return spans
