"""The axes around a grid of dots, as lines of text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable

from llmtui.tui.widgets.canvas import Canvas
from llmtui.view.axes import Scale
from llmtui.view.lines import Line

LABEL_WIDTH = 6
"""Cells for the tick labels of the y axis: fixed, so that a longer label does not move the curve."""


def y_axis_rows(canvas: Canvas, scale: Scale, tick_format: Callable[[float, float], str]) -> Iterable[Line]:
    """The rows of `canvas` with the y axis at their left. tick_format: see `llmtui.view.axes.tick_label`."""
    rows, ticks = _spaced_ticks(canvas, scale)
    step = min((b - a for a, b in itertools.pairwise(ticks)), default=abs(ticks[0]) if ticks else 1.0)
    labels = {row: tick_format(tick, step) for row, tick in zip(rows, ticks, strict=True)}
    for row in range(canvas.rows):
        label = labels.get(row, "")
        yield [(label.rjust(LABEL_WIDTH) + ("┤" if label else "│"), "dim"), *canvas.line(row)]


def _spaced_ticks(canvas: Canvas, scale: Scale) -> tuple[list[int], list[float]]:
    """The rows and values of as many ticks as have a free row between them: closer ones look unevenly spaced."""
    for limit in range(max(5, canvas.rows // 3), 0, -1):
        ticks = scale.ticks(limit)
        rows = [canvas.rows - 1 - scale.to_dot(tick, canvas.height) // 4 for tick in ticks]
        if all(below - above >= 2 for below, above in itertools.pairwise(rows)):
            break
    return rows, ticks


def x_axis_row(cells: int, labels: Iterable[tuple[int, str]], crosses: Collection[int] = ()) -> Line:
    """The x axis below a grid of `cells` cells.

    labels: the cell where each begins, and its text; one that would overlap the one before it is left out. crosses:
    cells where values were not finite.
    """
    row, free = ["─"] * cells, 0
    for start, label in labels:
        if free <= start and start + len(label) <= cells:
            row[start : start + len(label)] = label
            free = start + len(label) + 1
    for at in crosses:
        row[at] = "✗"
    line: Line = [(" " * LABEL_WIDTH + "└", "dim")]
    for number, part in enumerate("".join(row).split("✗")):
        line += [("✗", "bad"), (part, "dim")] if number else [(part, "dim")]
    return line
