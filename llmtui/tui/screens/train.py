"""Train: one run, its curves and its numbers."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from llmtui.tui.actions import bindings
from llmtui.tui.chart_table import LOSS, SMALL_CHARTS
from llmtui.tui.run_watcher import HistoryUpdated, RunsUpdated
from llmtui.tui.screens.train_actions import TrainActions
from llmtui.tui.screens.workbench_screen import show_screen
from llmtui.tui.widgets.bars import FooterBar
from llmtui.tui.widgets.chart import Chart
from llmtui.tui.widgets.event_log import EventLog
from llmtui.tui.widgets.hardware import HardwarePane
from llmtui.tui.widgets.panels import (
    LastSample,
    ProgressLines,
    RunDetails,
    RunPane,
    RunsSidebar,
    StagesPane,
    StatusLine,
)


class Train(TrainActions):
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

    def on_screen_resume(self) -> None:
        self._drawn = ()
        self.redraw()

    @on(RunsUpdated)
    @on(HistoryUpdated)
    def _draw_if_current(self) -> None:
        if self.is_current:
            self.redraw()

    def on_resize(self) -> None:
        self.call_after_refresh(self.arrange_charts)

    def redraw(self) -> None:
        snapshot = self.snapshot
        if snapshot:
            self.session.watcher.follow(snapshot.run)
        history = self.history
        self.set_class(not (history and len(history.curves.loss)), "-no-curve")
        if history and snapshot:
            self.draw_charts(history, finished=not snapshot.state.is_active)
        snapshots = tuple(self.session.watcher.snapshots)
        reading = history.summary.reading if history else None
        self.set_class(bool(reading and reading.gpus), "-gpus")
        for pane in self.query(RunPane):
            pane.snapshots = snapshots
            pane.show(snapshot, history)
        self.query_one(FooterBar).update()

    def action_app_back(self) -> None:
        if self.leave_chart():
            return
        if self.focused:
            self.set_focus(None)
        else:
            show_screen(self.app, "home")
