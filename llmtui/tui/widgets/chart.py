"""Line charts of braille dots.

Textual's Sparkline and the plotting packages redraw whole widgets, with a truecolor sequence per cell: 7 to 134 kB for
an update at 118x30, where this sends 1.4 kB.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.message import Message

from llmtui.tui.widgets.canvas import Canvas, Column, dotted_band, polyline
from llmtui.tui.widgets.curve import Buckets, ColumnCache, Curve
from llmtui.tui.widgets.pane import Pane
from llmtui.tui.widgets.plot_axes import LABEL_WIDTH, x_axis_row, y_axis_rows
from llmtui.view.axes import Scale, scale_for, tick_label
from llmtui.view.lines import Line, cut, fits, spread
from llmtui.view.sanitize import shown
from llmtui.view.step_axis import Positions, Window, XAxis, XKind, whole_axis, window_axis
from llmtui.view.step_marks import StepMark

SMOOTHING = (0.0, 0.6, 0.9, 0.98)
"""Weights of the past that the user can choose; 0 draws the values themselves."""


class Chart(Pane, can_focus=True):
    """Curves over training steps. Set the attributes, then call `update`."""

    HELP: ClassVar[str] = (
        "Curves over the training of a run: each value dim, their moving average bright. ▲ marks values above it."
    )

    def __init__(self, title: str, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._title = title
        self.curves: list[Curve] = []
        self.positions = Positions()
        """Where the steps of `window` and `cursor` are on the x axis: those of one of the runs."""
        self.logarithmic = False
        """The y axis."""
        self.finished = False
        """Whether the run has ended: the curves then take the whole width."""
        self.unit = ""
        """Unit of the values, if the title does not say it."""
        self.names_runs = True
        """Whether the title names other runs, instead of their glyphs alone."""
        self.placeholder = ""
        """Shown while there is nothing to draw."""
        self.format: Callable[[float], str] = "{:.3f}".format
        self.tick_format: Callable[[float, float], str] = tick_label
        """How a tick is written, given its value and the distance between ticks."""
        self.whole: tuple[float, float] | None = None
        """Lowest and highest value that the y axis always has."""
        self.x_kind, self.x_logarithmic = XKind.STEP, False
        self.window, self.last_step = Window(), 0
        """The steps shown, and the last one there is."""
        self.y_share = 1.0
        """Part of the range of values, from the lowest up, that the y axis shows; higher values are marked."""
        self.cursor: float | None = None
        """The step that is inspected: a vertical line, and its values instead of the newest ones in the title."""
        self.marks: Sequence[StepMark] = ()
        """Above the x axis."""
        self.note: Line = []
        """Shown below the x axis."""
        self.axis: XAxis | None = None
        self.scale: Scale | None = None
        self.dots = 0
        """The x axis, the y axis and the columns of dots as last drawn."""
        self._caches: defaultdict[str, tuple[ColumnCache, ColumnCache]]
        self._caches = defaultdict(lambda: (ColumnCache(), ColumnCache()))
        """By name of a curve: for its values and for their moving average."""
        self._averages: dict[str, tuple[object, list[float]]] = {}
        """By name of a curve, what its moving average was made of, and the average."""

    class Clicked(Message):
        """Posted when the place of a step was clicked."""

        def __init__(self, step: float) -> None:
            super().__init__()
            self.step = step

    def on_click(self, event: events.Click) -> None:
        left = (2 if self.boxed else 1) + LABEL_WIDTH + 1
        dot = 2 * (event.x - left)
        if self.axis is not None and self.curves and 0 <= dot < self.dots:
            self.post_message(self.Clicked(self.positions.step_at(self.axis.position(dot + 1))))

    # -- title ----------------------------------------------------------------------------------------------------

    def heading(self, width: int) -> Line:
        title: Line = [(self._title, "title")]
        unit: Line = [(f", {self.unit}", "dim")] if self.unit else []
        smoothing = next((curve.smoothing for curve in self.curves if curve.smoothing), 0.0)
        marks = [f"smooth {smoothing:g}"] if smoothing else []
        marks += [f"by {self.x_kind}"] if self.x_kind is not XKind.STEP else []
        marks += ["log x"] if self.x_logarithmic else []
        marks += ["log"] if self.logarithmic else []
        marks += ["low part"] if self.y_share < 1 else []
        marks += [] if self.window.width is None else ["zoom, newest" if self.window.end is None else "zoom"]
        options: Line = [(" · ".join(marks), "dim")]
        # never cut: values first, then names, their unit, smoothing and axes, as far as they fit
        for cells in (16, 8, 4, 0) if self.names_runs else (0,):
            entries = self._legend(cells)
            legend = [span for entry in entries for span in entry]
            if fits([*title, *unit, *legend], width):
                break
            if fits([*title, *legend], width):
                unit = []
                break
        else:
            unit = []
        while entries[1:] and not fits([*title, *legend], width):
            entries.pop()
            legend = [span for entry in entries for span in entry]
        line = [*title, *unit, *legend]
        return spread(line, options, width) if marks and width > 40 and fits([*line, *options], width - 3) else line

    def _legend(self, cells: int) -> list[Line]:
        """A part of the title for each curve: its glyph, its name, its newest value or that at the cursor.

        cells: of the longest name of another run.
        """
        drawn = [curve for curve in self.curves if curve.series.last is not None and curve.in_legend]
        entries: list[Line] = []
        for curve in drawn:
            glyph = curve.glyph or curve.marks or ("━" if curve.smoothing else "⠒")
            text = self._value(curve)
            name = cut(shown(curve.name), cells) if curve.glyph else curve.name
            name = f"{glyph} {name} ".replace("  ", " ") if len(self.curves) > 1 else ""
            entries.append([("  ", ""), (f"{name}{text}", curve.role)])
        return entries

    def _value(self, curve: Curve) -> str:
        about = "≈" if curve.approximate else ""
        if self.cursor is None:
            return about + self.format(curve.convert(curve.newest or curve.series.last or 0.0))
        found = curve.value_at(self.cursor, self.smoothed(curve) if curve.smoothing and not curve.raw else None)
        if found is None:
            return "–"
        step, value = found
        text = about + self.format(value)
        if curve.smoothing and curve.raw:
            average = curve.value_at(self.cursor, self.smoothed(curve))
            text += f" ({self.format(average[1])})" if average else ""
        return f"{text} at {step:,.0f}" if curve.marks and abs(step - self.cursor) >= curve.series.span else text

    @property
    def copied(self) -> str:
        """The values of the curves: at the cursor, or the newest ones."""
        place = "newest" if self.cursor is None else f"step {self.cursor:,.0f}"
        drawn = [curve for curve in self.curves if curve.series.last is not None]
        unit = f", {self.unit}" if self.unit else ""
        values = "; ".join(f"{curve.name} {self._value(curve)}" for curve in drawn)
        return f"{self._title}{unit}, {place}: {values}" if drawn else ""

    # -- drawing --------------------------------------------------------------------------------------------------

    def lines(self, width: int, height: int) -> list[Line]:
        drawn = [curve for curve in self.curves if len(curve.series)]
        if not drawn:
            return [[], [(self.placeholder, "dim")]] if height > 1 else [[(self.placeholder, "dim")]]
        if width < 20 or height < 4:
            return [[(f"{curve.name} {self._value(curve)}", curve.role)] for curve in drawn]
        below = [self.note] if self.note and height > 5 else []
        canvas = Canvas(width - LABEL_WIDTH - 1, height - 1 - len(below))
        self.dots = canvas.width
        axis = self.axis = self._x_axis(drawn, canvas.width)
        pairs = [self.whole] if self.whole else self._values_shown(drawn, axis) or [(0.0, 1.0)]
        # a logarithmic x axis is for the first steps, which would be the outliers of the y axis
        scale = scale_for(pairs, log=self.logarithmic, robust=not self.x_logarithmic)
        if self.y_share < 1:
            scale = scale_for([(scale.low, scale.at(self.y_share))], log=self.logarithmic)
        self.scale = scale
        # dim ones lie behind the others, bands behind all
        for curve in sorted(drawn, key=lambda curve: (not curve.band, curve.role != "dim")):
            self._draw(canvas, curve, scale, axis)
        for mark in self.marks:
            x = axis.dot(self.positions.at(mark.step))
            if 0 <= x < canvas.width:
                canvas.glyph(x, 0, mark.glyph, mark.role)
        if self.cursor is not None:
            x = axis.dot(self.positions.at(self.cursor))
            if 0 <= x < canvas.width:
                canvas.rule(x, "accent")
        broken = {axis.dot(curve.positions.at(step)) for curve in drawn for step in curve.series.broken}
        return [*y_axis_rows(canvas, scale, self.tick_format), _x_axis(canvas, axis, broken), *below]

    def _x_axis(self, drawn: list[Curve], dots: int) -> XAxis:
        if self.window.width is not None:
            first, end = (self.positions.at(step) for step in self.window.bounds(self.last_step))
            return window_axis(self.x_kind, first, end, dots, log=self.x_logarithmic)
        end = max(curve.positions.at(curve.series.end) for curve in drawn)
        steps = [(curve, step) for curve in drawn for step, _ in curve.series.means(0, 2) if step > 0]
        first = min((curve.positions.at(step) for curve, step in steps), default=end)
        return whole_axis(self.x_kind, first, end, dots, log=self.x_logarithmic, finished=self.finished)

    def _values_shown(self, drawn: list[Curve], axis: XAxis) -> list[tuple[float, float]]:
        """(lowest, highest) of each bucket within the window."""
        pairs: list[tuple[float, float]] = []
        for curve in drawn:
            series, positions, convert = curve.series, curve.positions, curve.convert
            first, last = 0, len(series)
            if self.window.width is not None:
                first = bisect_left(series.index, int(positions.step_at(axis.low)) // series.span)
                last = bisect_right(series.index, int(positions.step_at(axis.high)) // series.span)
            if curve.smoothing and not curve.raw:
                pairs += [(value, value) for value in self.smoothed(curve)[first:last]]
            else:
                pairs += zip(map(convert, series.low[first:last]), map(convert, series.high[first:last]), strict=True)
        return pairs

    def _draw(self, canvas: Canvas, curve: Curve, scale: Scale, axis: XAxis) -> None:
        series, convert, to_dot = curve.series, curve.convert, scale.dot_mapper(canvas.height)
        if curve.marks:
            for step, value in series.means():
                x = axis.dot(curve.positions.at(step))
                if 0 <= x < canvas.width:
                    canvas.glyph(x, to_dot(convert(value)), curve.marks, curve.role)
            return
        gaps = {axis.dot(curve.positions.at(step)) for step in series.broken}

        def buckets(start: int) -> Buckets:
            means = series.means(start)
            for (step, mean), low, high in zip(means, series.low[start:], series.high[start:], strict=True):
                yield step, convert(mean), convert(low), convert(high)

        columns: dict[int, Column] = {}
        caches = self._caches[curve.glyph + curve.name]
        if curve.raw or not curve.smoothing:
            columns = caches[0].update(curve, axis, (), canvas.width, buckets)
            if curve.band:
                dotted_band(canvas, columns, to_dot, curve.role)
                columns = {x: column.mean for x, column in columns.items()}
            polyline(canvas, columns, to_dot, "raw" if curve.smoothing else curve.role, gaps)
            for x, column in columns.items():
                if column.high > scale.high:
                    canvas.glyph(x, canvas.height - 1, "▲", "warn")
        if curve.smoothing:
            smooth = self.smoothed(curve)

            def smoothed_buckets(start: int) -> Buckets:
                for (step, _), value in zip(series.means(start), smooth[start:], strict=True):
                    yield step, value, value, value

            layout = curve.smoothing, scale.log
            columns = caches[1].update(curve, axis, layout, canvas.width, smoothed_buckets)
            polyline(canvas, columns, to_dot, curve.role, gaps)
        if curve.glyph and columns:
            x = max(columns)
            canvas.glyph(x, to_dot(columns[x].last), curve.glyph, curve.role)

    def smoothed(self, curve: Curve) -> list[float]:
        """The moving average of a curve by bucket, in the unit of the chart and taken in its scale."""
        series, convert, name = curve.series, curve.convert, curve.glyph + curve.name
        made_of = series, series.revised, len(series), series.total[-1:], curve.smoothing, convert, self.logarithmic
        if name not in self._averages or self._averages[name][0] != made_of:
            if self.logarithmic:
                scale = Scale(1.0, 2.0, log=True)
                found = series.smoothed(curve.smoothing, lambda value: scale.transform(convert(value)), scale.inverse)
            else:
                found = series.smoothed(curve.smoothing, convert, float)
            self._averages[name] = made_of, found
        return self._averages[name][1]


def _x_axis(canvas: Canvas, axis: XAxis, broken: set[int]) -> Line:
    """The x axis: round positions as labels, and a cross where values were not finite."""
    ticks = axis.ticks(max(3, min(canvas.columns // 11, 12)))
    labels = [(axis.dot(at) // 2 - (len(label) // 2 if at > axis.low else 0), label) for at, label in ticks]
    return x_axis_row(canvas.columns, labels, {dot // 2 for dot in broken if 0 <= dot < canvas.width})
