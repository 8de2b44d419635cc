"""Train: one run, its curves and its numbers."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from llmtui.tui.actions import bindings
from llmtui.tui.chart_table import CHARTS, LOSS, SMALL_CHARTS
from llmtui.tui.run_watcher import HistoryUpdated, RunsUpdated
from llmtui.tui.screens.run_screen import RunScreen, show_screen
from llmtui.tui.widgets.bars import FooterBar
from llmtui.tui.widgets.chart import SMOOTHING, Chart, Curve
from llmtui.tui.widgets.hardware import HardwarePane
from llmtui.tui.widgets.panels import (
    EventLog,
    LastSample,
    ProgressLines,
    RunDetails,
    RunPane,
    RunsSidebar,
    StagesPane,
    StatusLine,
)
from llmtui.view.history import History


class Train(RunScreen):
    """The dashboard. Its style sheet decides what is shown at which size."""

    SCOPE = "train"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("train")]
    CSS_PATH = "train.tcss"
    AUTO_FOCUS = ""

    def compose(self) -> ComposeResult:
        yield StatusLine(id="status")
        with Container(id="body"):
            with Container(id="left"):
                yield RunsSidebar(id="runs-sidebar")
                yield StagesPane(id="stages-left")
                yield EventLog(id="events-left")
            with Container(id="centre"):
                yield StagesPane(id="stages")
                yield Chart(LOSS.title, id=LOSS.id)
                with Container(id="small"):
                    for entry in SMALL_CHARTS:
                        yield Chart(entry.title, id=entry.id)
                yield EventLog(id="events")
            with Container(id="right"):
                yield HardwarePane(id="hardware")
                yield RunDetails(id="details")
                yield LastSample(id="sample")
        yield ProgressLines(id="progress")
        yield from self.compose_footer()

    def on_mount(self) -> None:
        self._drawn: tuple[object, ...] = ()
        """What the charts were last drawn from; while it stays the same they are not drawn again."""
        for entry in CHARTS:
            chart = self.query_one(f"#{entry.id}", Chart)
            chart.format, chart.tick_format = entry.format, entry.tick_format
        self._smoothing = self.session.settings.smoothing

    def on_screen_resume(self) -> None:
        self._drawn = ()
        self._draw()

    @on(RunsUpdated)
    @on(HistoryUpdated)
    def _draw_if_current(self) -> None:
        if self.is_current:
            self._draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    @property
    def history(self) -> History | None:
        """The history of the run shown, once its journal is being read."""
        history, snapshot = self.session.watcher.history, self.snapshot
        return history if history and snapshot and history.run.id == snapshot.run.id else None

    def _draw(self) -> None:
        snapshot = self.snapshot
        if snapshot:
            self.session.watcher.follow(snapshot.run)
        history = self.history
        self.set_class(not (history and len(history.loss)), "-no-curve")
        if history and snapshot:
            inputs = (
                history,
                history.summary.events,
                self._smoothing,
                self.session.ui_state.log,
                self.size,
                snapshot.state,
            )
            if inputs != self._drawn:
                self._drawn = inputs
                self._draw_charts(history)
        self.query_one(RunsSidebar).snapshots = tuple(self.session.watcher.snapshots)
        for pane in self.query(RunPane):
            pane.show(snapshot, history)
        self.query_one(FooterBar).update()

    def _draw_charts(self, history: History) -> None:
        assert self.snapshot is not None
        for entry in CHARTS:
            chart = self.query_one(f"#{entry.id}", Chart)
            chart.curves = [
                Curve(
                    curve.name,
                    curve.series(history),
                    curve.role,
                    self._smoothing if curve.smoothing is None else curve.smoothing,
                    curve.marks,
                )
                for curve in entry.curves
            ]
            if entry is LOSS:
                chart.logarithmic, chart.unit = self.session.ui_state.log, history.unit
            chart.finished = not self.snapshot.state.is_active
            chart.placeholder = "no step yet"
            chart.update()

    # -- actions --------------------------------------------------------------------------------------------------

    def action_chart_log(self) -> None:
        self.session.remember(log=not self.session.ui_state.log)
        self.show_notice("Loss on a logarithmic axis." if self.session.ui_state.log else "Loss on a linear axis.")
        self._draw()

    def action_chart_smoother(self) -> None:
        self._smooth(next((value for value in SMOOTHING if value > self._smoothing), SMOOTHING[-1]))

    def action_chart_rougher(self) -> None:
        self._smooth(next((value for value in reversed(SMOOTHING) if value < self._smoothing), SMOOTHING[0]))

    def _smooth(self, value: float) -> None:
        self._smoothing = value
        self.show_notice(
            f"Training loss smoothed by {value:g} a step." if value else "Training loss without smoothing."
        )
        self._draw()

    def action_app_back(self) -> None:
        if self.focused:
            self.set_focus(None)
        else:
            show_screen(self.app, "home")
