"""Points on two axes: results of trials against the values of a field, or over time."""

from __future__ import annotations

import itertools
from typing import ClassVar

from llmtui.tui.widgets.canvas import Canvas
from llmtui.tui.widgets.pane import Pane
from llmtui.tui.widgets.plot_axes import LABEL_WIDTH, x_axis_row, y_axis_rows
from llmtui.view.axes import Scale, scale_for, tick_label
from llmtui.view.lines import Line, wrap
from llmtui.view.study_plots import Plot

_MARGIN = 2
"""Columns of dots left and right of the outermost points, so that half of a glyph is not cut."""


class ScatterPane(Pane, can_focus=True):
    """Draws a `Plot`."""

    HELP: ClassVar[str] = (
        "Results of the trials of a study: over the time in which they came about, or against the values of a field. "
        "★ is the best trial, ◇ the highlighted one."
    )

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._plot = Plot([])

    def show(self, plot: Plot) -> None:
        """Show another plot."""
        self._plot = plot
        self.update()

    def heading(self, width: int) -> Line:
        return self._plot.title

    def lines(self, width: int, height: int) -> list[Line]:
        plot = self._plot
        if not plot.points:
            return [[(part, "dim")] for part in wrap(plot.placeholder, width)]
        below: list[Line] = [[(part, "dim")] for part in wrap(plot.note, width)][:2] if height > 5 else []
        if width < 20 or height < 4:
            return below
        canvas = Canvas(width - LABEL_WIDTH - 1, height - 1 - len(below))
        y = scale_for(((point.y, point.y) for point in plot.points), log=False)
        x, top = self._x_scale(), canvas.width - 1 - 2 * _MARGIN

        def column(value: float) -> int:
            return _MARGIN + x.to_dot(value, top + 1)

        row = y.dot_mapper(canvas.height)
        self._draw_steps(canvas, [(column(at), row(value)) for at, value in plot.steps])
        for point in plot.points:
            canvas.glyph(column(point.x), row(point.y), point.glyph, point.role)
        ticks = [(column(at) // 2, label) for at, label in self._x_ticks(x, canvas.columns)]
        labels = [(max(0, min(canvas.columns - len(label), at - len(label) // 2)), label) for at, label in ticks]
        return [*y_axis_rows(canvas, y, tick_label), x_axis_row(canvas.columns, labels), *below]

    @staticmethod
    def _draw_steps(canvas: Canvas, corners: list[tuple[int, int]]) -> None:
        ends = [*corners[1:], (canvas.width - 1, corners[-1][1])] if corners else []
        for (start, height), (end, following) in zip(corners, ends, strict=True):
            for at in range(start, end + 1):
                canvas.vertical_line(at, height, height, "good")
            canvas.vertical_line(end, min(height, following), max(height, following), "good")

    def _x_scale(self) -> Scale:
        plot, xs = self._plot, [point.x for point in self._plot.points]
        if plot.names:
            return Scale(0.0, max(1.0, len(plot.names) - 1.0), log=False)
        low, high = min(xs), max(xs)
        if plot.x_log and low > 0:
            return Scale(low, high, log=True) if high > low else Scale(low / 2, high * 2, log=True)
        return Scale(low, high, log=False) if high > low else Scale(low - 1, high + 1, log=False)

    def _x_ticks(self, scale: Scale, cells: int) -> list[tuple[float, str]]:
        if self._plot.names:
            return [(float(index), name) for index, name in enumerate(self._plot.names)]
        ticks = scale.ticks(max(2, min(cells // 11, 12)))
        step = min((b - a for a, b in itertools.pairwise(ticks)), default=1.0)
        return [(at, self._plot.x_tick(at, step)) for at in ticks]
