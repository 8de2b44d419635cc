"""Line charts on a grid of braille dots, 2 wide and 4 high in each cell.

Sparkline and the plotting packages redraw whole widgets, a truecolor sequence per cell: 7 to 134 kB an update where
this needs 1.4 kB at 118x30.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from llmtui.widgets.axes import Scale, dots_per_step, nice_step, scale_for, tick_label
from llmtui.widgets.lines import Line, Span, spread
from llmtui.widgets.pane import Pane
from llmtui.widgets.series import Series

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
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
        self._glyphs: dict[tuple[int, int], str] = {}

    def dot(self, x: int, y: int, role: str) -> None:
        """One dot; y counts from the bottom."""
        y = self.height - 1 - y
        row, column = y >> 2, x >> 1
        if self._owner[row][column] != role:
            self._owner[row][column] = role
            self._bits[row][column] = 0
            self._glyphs.pop((row, column), None)
        self._bits[row][column] |= _DOTS[y & 3][x & 1]

    def upright(self, x: int, low: int, high: int, role: str) -> None:
        """A column of dots."""
        for y in range(low, high + 1):
            self.dot(x, y, role)

    def glyph(self, x: int, y: int, glyph: str, role: str) -> None:
        """A character in the cell of that dot."""
        row, column = (self.height - 1 - y) >> 2, x >> 1
        self._owner[row][column] = role
        self._bits[row][column] = 0
        self._glyphs[row, column] = glyph

    def line(self, row: int) -> Line:
        """One row of cells as spans."""
        spans: list[Span] = []
        for column, (bits, owner) in enumerate(zip(self._bits[row], self._owner[row], strict=True)):
            text = self._glyphs.get((row, column)) or (chr(0x2800 + bits) if bits else " ")
            if spans and (spans[-1][1] == owner or text == " "):
                spans[-1] = (spans[-1][0] + text, spans[-1][1])
            else:
                spans.append((text, owner))
        return spans


class Chart(Pane):
    """Curves over steps. Set `curves` and `whole`, then `update`."""

    def __init__(self, name: str, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._quantity = name
        self.curves: list[Curve] = []
        self.logarithmic = False
        self.whole = False
        """The run has ended: use the whole width."""
        self.empty = ""
        """What to say while there is nothing to draw."""
        self.format: Callable[[float], str] = "{:.3f}".format
        self.label: Callable[[float, float], str] = tick_label
        """How a tick is written, given the distance between ticks."""

    def heading(self, width: int) -> Line:
        legend: Line = [(self._quantity, "title")]
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
        return spread(legend, [(" · ".join(marks), "dim")], width) if marks and width > 40 else legend

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
            _draw(canvas, curve, scale, pace)
        return [
            *self._rows_with_axis(canvas, scale),
            _x_axis(canvas, pace, {s for c in drawn for s in c.series.broken}),
        ]

    def _rows_with_axis(self, canvas: Canvas, scale: Scale) -> Iterable[Line]:
        ticks = scale.ticks(max(3, canvas.rows // 3))
        step = min((b - a for a, b in itertools.pairwise(ticks)), default=abs(ticks[0]) if ticks else 1.0)
        labels = {canvas.rows - 1 - scale.at(tick, canvas.height) // 4: self.label(tick, step) for tick in ticks}
        for row in range(canvas.rows):
            label = labels.get(row, "")
            yield [(label.rjust(_LABELS) + ("┤" if label else "│"), "dim"), *canvas.line(row)]


def _draw(canvas: Canvas, curve: Curve, scale: Scale, pace: float) -> None:
    series = curve.series
    points = series.means()
    if curve.marks:
        for step, value in points:
            canvas.glyph(_x(step, pace, canvas), scale.at(value, canvas.height), "•", curve.role)
        return
    if not curve.smoothing:
        _polyline(canvas, points, scale, pace, curve.role, series.broken)
        return
    _polyline(canvas, points, scale, pace, "raw", series.broken, list(zip(series.low, series.high, strict=True)))
    smooth = series.smoothed(curve.smoothing, scale.into, scale.back)
    steps = [step for step, _ in points]
    _polyline(canvas, list(zip(steps, smooth, strict=True)), scale, pace, curve.role, series.broken)


def _x(step: float, pace: float, canvas: Canvas) -> int:
    return max(0, min(canvas.width - 1, int(step * pace)))


def _polyline(
    canvas: Canvas,
    points: list[tuple[float, float]],
    scale: Scale,
    pace: float,
    role: str,
    broken: list[int],
    reach: list[tuple[float, float]] | None = None,
) -> None:
    """Join `points`; in each dot column the whole span of what falls into it is drawn.

    broken: steps where the line is interrupted. reach: lowest and highest value behind each point, drawn too.
    """
    gaps = {_x(step, pace, canvas) for step in broken}
    spans: dict[int, tuple[int, int]] = {}
    before: tuple[int, int] | None = None
    for i, (step, value) in enumerate(points):
        x, y = _x(step, pace, canvas), scale.at(value, canvas.height)
        low, high = (scale.at(edge, canvas.height) for edge in reach[i]) if reach else (y, y)
        if before and before[0] == x:
            low, high = min(low, y, before[1]), max(high, y, before[1])
        elif before and not any(column in gaps for column in range(before[0], x + 1)):
            for column in range(before[0] + 1, x):
                level = before[1] + round((y - before[1]) * (column - before[0]) / (x - before[0]))
                spans[column] = (level, level)
            middle = (before[1] + y) // 2 if x == before[0] + 1 else y
            low, high = min(low, middle), max(high, middle)
        known = spans.get(x)
        spans[x] = (min(low, known[0]), max(high, known[1])) if known else (low, high)
        before = (x, y)
    for x, (low, high) in spans.items():
        if x not in gaps:
            canvas.upright(x, low, high, role)
    if reach:
        for i, (step, _) in enumerate(points):
            if reach[i][1] > scale.high:
                canvas.glyph(_x(step, pace, canvas), canvas.height - 1, "▲", "warn")


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
