"""A grid of braille dots, 2 wide and 4 high in each cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from llmtui.view.lines import Line, Span

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille cell: the dots of its left and its right column, from the top."""
_SPANS = tuple([[sum(side[first : last + 1]) for last in range(4)] for first in range(4)] for side in _DOTS)
"""Bits of all dots of a column from one row to another, both included: `_SPANS[column][first][last]`."""


class Column(NamedTuple):
    """The values of a series within one column of dots."""

    low: float
    high: float
    first: float
    last: float

    @property
    def mean(self) -> Column:
        """The same without the range: where the means of its buckets are."""
        return self._replace(low=min(self.first, self.last), high=max(self.first, self.last))


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

    def rule(self, x: int, role: str) -> None:
        """A vertical line through the cells of column `x` that are free; those of curves keep their dots."""
        column = x >> 1
        for row in range(self.rows):
            self._roles[row][column] = role
            if not self._bits[row][column]:
                self._glyphs[row].setdefault(column, "│")

    def line(self, row: int) -> Line:
        """One row of cells, counted from the top."""
        spans: list[Span] = []
        glyphs, text, role = self._glyphs[row], "", ""
        if not glyphs and not any(self._bits[row]):  # most rows of a chart beside a steep curve
            return [(" " * self.columns, "")]
        for column, (bits, owner) in enumerate(zip(self._bits[row], self._roles[row], strict=True)):
            cell = chr(0x2800 + bits) if bits else glyphs.get(column, " ")
            if owner != role and cell != " ":
                if text:
                    spans.append((text, role))
                text, role = "", owner
            text += cell
        return [*spans, (text, role)]


def polyline(
    canvas: Canvas, columns: Mapping[int, Column], to_dot: Callable[[float], int], role: str, gaps: set[int]
) -> None:
    """Draw each column from its lowest to its highest value and join neighbours, except across `gaps`."""
    start = -2
    bottom = top = level = 0  # of the column at `start`, which is drawn once the next one is known
    for x, (lowest, highest, first, last) in columns.items():
        low = to_dot(lowest)
        high = low if highest == lowest else to_dot(highest)
        # most columns hold one value or a few in order, and finding dots took a quarter of the time of drawing
        entry = low if first == lowest else high if first == highest else to_dot(first)
        if x == start + 1:
            # each takes half of the distance, so that a steep curve stays one line
            middle = (level + entry) // 2
            low, high = min(low, middle), max(high, middle)
            bottom, top = min(bottom, middle), max(top, middle)
        elif start >= 0 and gaps.isdisjoint(range(start, x + 1)):
            for between in range(start + 1, x):
                y = level + round((entry - level) * (between - start) / (x - start))
                canvas.vertical_line(between, y, y, role)
        if start >= 0 and start not in gaps:
            canvas.vertical_line(start, bottom, top, role)
        start, bottom, top, level = x, low, high, entry if last == first else to_dot(last)
    if start >= 0 and start not in gaps:
        canvas.vertical_line(start, bottom, top, role)


def dotted_band(canvas: Canvas, columns: Mapping[int, Column], to_dot: Callable[[float], int], role: str) -> None:
    """Fill the range from the lowest to the highest value with every fourth dot, between columns, too."""
    before: tuple[int, int, int] | None = None
    for x, column in columns.items():
        low, high = to_dot(column.low), to_dot(column.high)
        start, first_low, first_high = before or (x - 1, low, high)
        for at in range(start + 1, x + 1):
            share = (at - start) / (x - start)
            bottom, top = (round(a + (b - a) * share) for a, b in ((first_low, low), (first_high, high)))
            for y in range(bottom, top + 1):
                if at % 2 == 0 and (y + at // 2) % 2 == 0:
                    canvas.vertical_line(at, y, y, role)
        before = (x, low, high)
