"""The charts of a run's screen: what they show, and the keys that change it."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TypeVar

from textual import on

from core.errors import LlmtuiError
from llmtui.tui.chart_table import LOSS, ChartEntry
from llmtui.tui.screens.chart_detail import ChartDetail
from llmtui.tui.screens.chart_files import exported, write_chart
from llmtui.tui.screens.chart_layout import ArrangedScreen
from llmtui.tui.screens.overlaid_screen import set_unit
from llmtui.tui.screens.workbench_screen import show_error, show_screen
from llmtui.tui.widgets.chart import SMOOTHING, Chart
from llmtui.tui.widgets.curve import Curve
from llmtui.view.history import History
from llmtui.view.lines import Line, joined
from llmtui.view.loss_unit import LossUnit
from llmtui.view.sanitize import shown
from llmtui.view.step_axis import Window, XKind, containing, next_step, panned, zoomed
from llmtui.view.step_marks import StepMark

ANCESTOR = "↑"
"""Stands for the run that the one shown branches from."""

FAR = 10
"""Cells by which the cursor moves at once with the keys for larger steps."""

Choice = TypeVar("Choice", bound=Enum)


class ChartedScreen(ArrangedScreen):
    """A screen with the charts of `llmtui.tui.chart_table`. They share x axis, window and cursor."""

    def on_mount(self) -> None:
        self._drawn: tuple[object, ...] = ()
        """What the charts were last drawn from, but for the cursor; while it stays the same so do their curves."""
        self._drawn_cursor: float | None = None
        self._window = Window()
        self._detail = ChartDetail(self, self.redraw)
        self._y_share = 1.0
        self._cursor: float | None = None
        self._charted = ""
        """The `charted_subject` whose window and cursor these are."""
        self._smoothing = self.session.settings.smoothing
        for entry in self.ENTRIES:
            chart = self.chart(entry)
            chart.format, chart.tick_format, chart.whole = entry.format, entry.tick_format, entry.whole

    def is_available(self, action: str) -> bool:
        if action.startswith("chart.") and not (self.history and len(self.history.curves.loss)):
            return False
        return super().is_available(action)

    # -- drawing --------------------------------------------------------------------------------------------------

    def draw_charts(self, history: History, *, finished: bool) -> None:
        """Draw the charts of `history` if they have changed. finished: whether the run has ended."""
        ui_state = self.session.ui_state
        if (subject := self.charted_subject(history)) != self._charted:
            self._charted, self._window, self._cursor, self._y_share = subject, Window(), None, 1.0
        others = self.other_histories()
        set_unit([history, *(other for _, other in others)], _choice(LossUnit, ui_state.unit, LossUnit.BITS))
        settings = (self._smoothing, ui_state.log, self._x_kind, ui_state.x_log, history.chosen_unit)
        shape = self.size, self.has_class("-full"), self.chart_layout
        histories = [history, *(other for _, other in others)]
        self._detail.update(histories, self._window, self._last_step)
        read = [
            (known, known.summary.events, known.caught_up, known.detail and known.detail.series) for known in histories
        ]
        marks = self.marks(history)
        inputs = (read, marks, settings, self._window, self._y_share, shape, finished)
        if (inputs, self._cursor) == (self._drawn, self._drawn_cursor):
            return
        for entry in self.ENTRIES:
            chart = self.chart(entry)
            if inputs != self._drawn:
                chart.curves, chart.positions = self.curves(entry, history), history.positions(self._x_kind)
                chart.x_kind, chart.x_logarithmic = self._x_kind, ui_state.x_log
                chart.window, chart.last_step = self._window, self._end_of(history)
                chart.finished, chart.y_share, chart.marks = finished, self._y_share, marks
                chart.placeholder = "no step yet" if history.caught_up else "reading the journal …"
                if entry is LOSS:
                    chart.logarithmic, chart.unit = ui_state.log, self.unit_text(history)
                    chart.format = history.unit.text
            chart.cursor = self._cursor
            if entry is LOSS:
                chart.note = self.chart_note(history)
            chart.update()
        self._drawn, self._drawn_cursor = inputs, self._cursor

    def charted_subject(self, history: History) -> str:
        """What the charts are about; window and cursor are kept until it changes."""
        return history.run.id

    def curves(self, entry: ChartEntry, history: History) -> list[Curve]:
        """The curves of a chart: those of `history`, and of `other_histories`."""
        others = self.other_histories()
        return [
            *self._curves(entry, history),
            *(curve for number, other in others for curve in self._curves(entry, other, number)),
        ]

    def _curves(self, entry: ChartEntry, history: History, number: int | None = None) -> list[Curve]:
        """The curves of a chart. number: of another run, see `other_histories`; None for the run shown."""
        positions = history.positions(self._x_kind)
        found = []
        for entry_curve in entry.curves:
            series = entry_curve.series(history)
            curve = entry_curve.curve(history, positions, self._smoothing)
            curve = curve._replace(series=history.finest(series), history=history, newest=series.last)
            if number is not None:
                glyph = str(number) if number else ANCESTOR
                curve = curve._replace(
                    name=history.run.name,
                    role=f"run-{number}" if number else "dim",
                    marks=curve.marks and glyph,
                    raw=False,
                    glyph=glyph,
                    quantity=curve.name,
                    in_legend=not curve.marks,
                )
            found.append(curve)
        return found

    def _end_of(self, history: History) -> int:
        """The last step of all runs shown."""
        return max(known.curves.loss.end for known in (history, *(other for _, other in self.other_histories())))

    @property
    def marked_step(self) -> int | None:
        return None if self._cursor is None else round(self._cursor)

    def chart_note(self, history: History) -> Line:
        """Step, tokens and time at the cursor, and the event nearest to it."""
        if self._cursor is None:
            return []
        loss = history.finest(history.curves.loss)
        step = f"step {self._cursor:,.0f}"
        if loss.span > 1:
            first = int(self._cursor) // loss.span * loss.span
            step = f"mean of steps {first:,} to {min(loss.end, first + loss.span - 1):,}"
        places = [
            f"{kind.label(history.positions(kind).at(self._cursor))}{' tokens' if kind is XKind.TOKENS else ''}"
            for kind in (XKind.TOKENS, XKind.TIME)
        ]
        event = shown(self.event_at_cursor(history), 200)
        parts: list[Line] = [[(step, "accent")], *([(place, "")] for place in places), [(event, "dim")]]
        cells = self.chart(LOSS).inner_size[0]
        line = joined(parts[:-1], cells, " · ")
        return [*line, ("   ", ""), *parts[-1]] if event else line

    def unit_text(self, history: History) -> str:
        """The unit of the losses in the title of their chart."""
        return history.unit

    def marks(self, history: History) -> list[StepMark]:
        """What is marked on the charts."""
        return []

    def event_at_cursor(self, history: History) -> str:
        """The text of an event shown with the values at the cursor; not sanitised."""
        return history.nearest_event(self._cursor or 0.0)

    @property
    def _x_kind(self) -> XKind:
        return _choice(XKind, self.session.ui_state.x_axis, XKind.STEP)

    # -- what the charts show -------------------------------------------------------------------------------------

    def action_chart_unit(self) -> None:
        history = self.history
        known = history is not None and history.curves.bits_per_nat is not None
        unit = (history.unit if history else LossUnit.NATS).next(bits_known=known)
        self.session.remember(unit=unit.value)
        text = f"Losses in {unit}."
        if history and unit is LossUnit.BITS:
            text = (
                f"Losses in bits per byte; that of training is approximate, at {history.curves.bytes_per_token:.2f} "
                "bytes per token, the mean of the held-out text."
            )
        elif not known:
            text += " Bits per byte are not known: the run has not reported its bytes per token."
        self.show_notice(text)
        self.redraw()

    def action_chart_axis(self) -> None:
        kind = self._x_kind.next
        self.session.remember(x_axis=kind.value)
        self.show_notice(f"The x axis shows {'training time, without pauses' if kind is XKind.TIME else kind}.")
        self.redraw()

    def action_chart_log(self) -> None:
        self.session.remember(log=not self.session.ui_state.log)
        self.show_notice(f"Loss on a {_scale(self.session.ui_state.log)} axis.")
        self.redraw()

    def action_chart_log_x(self) -> None:
        self.session.remember(x_log=not self.session.ui_state.x_log)
        self.show_notice(f"The x axis is {_scale(self.session.ui_state.x_log)}.")
        self.redraw()

    def action_chart_smoother(self) -> None:
        self._smooth(next((value for value in SMOOTHING if value > self._smoothing), SMOOTHING[-1]))

    def action_chart_rougher(self) -> None:
        self._smooth(next((value for value in reversed(SMOOTHING) if value < self._smoothing), SMOOTHING[0]))

    def _smooth(self, value: float) -> None:
        self._smoothing = value
        self.show_notice(
            f"Training loss smoothed by {value:g} a step." if value else "Training loss without smoothing."
        )
        self.redraw()

    # -- window and cursor ----------------------------------------------------------------------------------------

    @property
    def _last_step(self) -> float:
        return float(self._end_of(self.history)) if self.history else 0.0

    def _show_window(self, window: Window) -> None:
        self._window = window
        self.redraw()

    def action_chart_zoom_in(self) -> None:
        self._show_window(zoomed(self._window, 0.5, self._last_step, self._cursor))

    def action_chart_zoom_out(self) -> None:
        self._show_window(zoomed(self._window, 2.0, self._last_step, self._cursor))

    def action_chart_left(self) -> None:
        self._pan(-0.25)

    def action_chart_right(self) -> None:
        self._pan(0.25)

    def _pan(self, share: float) -> None:
        if self._window.width is None:
            self.show_notice("All steps are shown: + zooms in.")
        self._show_window(panned(self._window, share, self._last_step))

    def action_chart_lower(self) -> None:
        self._show_share(self._y_share / 2)

    def action_chart_higher(self) -> None:
        self._show_share(self._y_share * 2)

    def _show_share(self, share: float) -> None:
        self._y_share = max(1 / 64, min(1.0, share))
        self.redraw()

    def action_chart_reset(self) -> None:
        self._cursor, self._y_share = None, 1.0
        self._show_window(Window())

    def action_chart_cursor(self) -> None:
        if self._cursor is not None:
            self._cursor = None
        elif self.history and len(self.history.curves.loss):
            steps = self._cursor_steps(self.history)
            first, last = self._window.bounds(self._last_step)
            self._cursor = next((step for step in reversed(steps) if first <= step <= last), steps[-1])
        else:
            self.show_notice("There is no step to inspect yet.", "warn")
        self.redraw()

    @on(Chart.Clicked)
    def _inspect(self, message: Chart.Clicked) -> None:
        steps = self._cursor_steps(self.history) if self.history else []
        if steps:
            self._cursor = min(steps, key=lambda step: abs(step - message.step))
            self.redraw()

    def action_chart_batch(self) -> None:
        from llmtui.tui.screens.data_batch import BatchScreen

        if self._cursor is None:
            self.show_notice("v shows a cursor first; enter then opens the batch of its step.")
            return
        screen = self.app.get_screen("batch")
        assert isinstance(screen, BatchScreen)
        screen.show_step(round(self._cursor))
        show_screen(self.app, "batch")

    def action_chart_cursor_left(self) -> None:
        self._move_cursor(-1)

    def action_chart_cursor_right(self) -> None:
        self._move_cursor(1)

    def action_chart_cursor_far_left(self) -> None:
        self._move_cursor(-FAR)

    def action_chart_cursor_far_right(self) -> None:
        self._move_cursor(FAR)

    def _move_cursor(self, cells: int) -> None:
        history, axis = self.history, self.chart(LOSS).axis
        if self._cursor is None or history is None or axis is None:
            return
        positions = history.positions(self._x_kind)
        steps = self._cursor_steps(history)
        self._cursor = next_step(steps, self._cursor, cells, lambda step: axis.dot(positions.at(step)))
        window = containing(self._window, self._cursor, self._last_step)
        if window == self._window:
            self.draw_cursor(history)
        else:
            self._show_window(window)

    def draw_cursor(self, history: History) -> None:
        """Draw what shows the cursor, which has moved: the charts alone."""
        snapshot = self.snapshot
        self.draw_charts(history, finished=not (snapshot and snapshot.state.is_active))

    @staticmethod
    def _cursor_steps(history: History) -> list[float]:
        return [step for step, _ in history.finest(history.curves.loss).means()]

    # -- files ----------------------------------------------------------------------------------------------------

    async def action_chart_export(self) -> None:
        chart, history = self.chart_in_focus, self.history
        entry = next(entry for entry in self.ENTRIES if entry.id == chart.id)
        subject, title = self.exported_subject(history) if history else ("", "")
        data = exported(chart, f"{title}: {entry.title}")
        if history is None or data is None:
            self.show_notice("There is no curve to save yet.", "warn")
            return
        folder = self.session.workspace.exports
        first, last = (max(0.0, bound) for bound in self._window.bounds(self._last_step))
        stem = f"{subject}-{entry.id}-steps-{first:.0f}-{last:.0f}"
        try:
            await asyncio.to_thread(write_chart, data, folder, stem)
        except OSError as error:
            what = (error.strerror or str(error)).lower()
            todo = "make room or choose another data directory with LLMTUI_HOME"
            show_error(self.app, LlmtuiError(what, where=str(error.filename or folder), todo=todo))
        else:
            self.show_notice(f"The {entry.title} is saved in {folder} as {stem}.csv, .json and .svg.")

    def exported_subject(self, history: History) -> tuple[str, str]:
        """What the name of an exported file begins with, and the title of its chart; not sanitised."""
        return history.run.id, history.run.name

    def leave_chart(self) -> bool:
        """Close the cursor or the full-screen chart; False if there is neither."""
        if self._cursor is not None:
            self.action_chart_cursor()
        elif self.has_class("-full"):
            self.action_chart_full()
        else:
            return False
        return True


def _choice(kind: type[Choice], value: str, default: Choice) -> Choice:
    """`value` as a member of `kind`; the file it comes from may be of another version."""
    return next((member for member in kind if member.value == value), default)


def _scale(log: bool) -> str:
    return "logarithmic" if log else "linear"
