"""A study: its trials in a table, their curves, how its best result came about, which fields matter."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from core.tune.curve_fit import Interval
from core.tune.forecast import Remaining, remaining
from core.tune.slices import slices
from core.tune.study_file import SecondObjective
from core.tune.tpe import MIN_TRIALS
from llmtui.tui.actions import bindings
from llmtui.tui.chart_table import LOSS, ChartEntry
from llmtui.tui.forecaster import Forecaster
from llmtui.tui.run_watcher import HistoryUpdated, RunsUpdated
from llmtui.tui.screens.study_curves import Losses, TrialCurveSettings, charted_trials, trial_curves
from llmtui.tui.screens.trial_actions import TrialActions
from llmtui.tui.widgets.bars import FooterBar, HeaderBar
from llmtui.tui.widgets.chart import Chart
from llmtui.tui.widgets.curve import Curve
from llmtui.tui.widgets.figure_pane import FigureBar
from llmtui.tui.widgets.scatter import ScatterPane
from llmtui.tui.widgets.study_panes import ImportancePane, StudyMessage, TrialsTable
from llmtui.view.history import History
from llmtui.view.lines import Line, joined
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.study_plots import front_objective, front_plot, progress_plot, slice_plot
from llmtui.view.study_snapshot import StudySnapshot
from llmtui.view.study_table import explanation, header_parts, is_active, state_lines, trials_table, waiting_sentence
from llmtui.view.study_text import TrialRow

VIEWS = ("curves", "importance", "progress", "slices", "front")
"""What is shown above the table; each is a class of the style sheet."""


class StudyScreen(TrialActions):
    """The study that was chosen, or the newest one."""

    SCOPE = "study"
    ENTRIES: ClassVar[tuple[ChartEntry, ...]] = (LOSS,)
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("study")]
    CSS_PATH = "study.tcss"
    AUTO_FOCUS: ClassVar[str] = "TrialsTable"

    def __init__(self) -> None:
        super().__init__()
        self._charted_rows: list[TrialRow] = []
        self._histories: dict[str, History] = {}
        """By run id, of the trials whose curves are drawn."""
        self._losses: Losses = "training"
        self._view = "table"
        self._field = 0
        """Of the slices, which one is shown."""
        self._forecasts: dict[str, Interval] = {}
        """Of trials that train, by id of the run."""
        self._forecaster = Forecaster()
        self._reading = False
        """Whether the studies are being read."""
        self._shown_state: tuple[object, ...] = ()
        """What was drawn last: while it stays the same, a tick draws nothing."""
        self._drawn_with: tuple[object, ...] = ()
        """What the curves were last made with, besides what every chart depends on."""

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        yield FigureBar(id="budget")
        with Container(id="body"):
            with Container(id="upper"):
                yield Chart(LOSS.title, id=LOSS.id)
                yield ScatterPane(id="plot")
                yield ImportancePane(id="importance")
            yield TrialsTable(id="trials")
        yield StudyMessage(id="message")
        yield from self.compose_footer()

    def on_mount(self) -> None:
        self.chart(LOSS).names_runs = False  # the table has their numbers

    def on_screen_resume(self) -> None:
        self.session.shown_views["compare"] = self.SCOPE
        self._drawn, self._shown_state = (), ()
        self.read_studies()
        self.redraw()

    @on(RunsUpdated)
    @on(HistoryUpdated)
    def _draw_if_current(self) -> None:
        if self.is_current:
            self.read_studies()
            self._draw_if_changed()

    def on_resize(self) -> None:
        self.call_after_refresh(self.redraw)

    def read_studies(self) -> None:
        """Read what has changed, which the event loop must not wait for, and draw it; unless that is going on."""
        if not self._reading:
            self._reading = True
            self._read_studies()

    @work(exit_on_error=True)
    async def _read_studies(self) -> None:
        try:
            await self.session.read_studies()
            runs = self._runs
            active = [run for row in self.rows if is_active(row, run := runs.get(row.trial.run_id)) and run]
            trials = [row.trial for row in self.rows]
            self._forecasts = await asyncio.to_thread(self._forecaster.update, active, trials, self.session.workspace)
        finally:
            self._reading = False
        if self.is_mounted and self.is_current:
            self._draw_if_changed()

    # -- drawing --------------------------------------------------------------------------------------------------

    @property
    def _runs(self) -> dict[str, RunSnapshot]:
        return {snapshot.run.id: snapshot for snapshot in self.session.watcher.snapshots}

    @property
    def snapshot(self) -> RunSnapshot | None:
        row = self.highlighted
        return self._runs.get(row.trial.run_id) if row else None

    @property
    def history(self) -> History | None:
        """The longest of the trials: the cursor moves over its steps."""
        return max(self._histories.values(), key=lambda history: history.curves.loss.end, default=None)

    def other_histories(self) -> list[tuple[int, History]]:
        longest = self.history
        numbers = {row.trial.run_id: row.trial.number for row in self._charted_rows}
        return [(numbers[name], each) for name, each in self._histories.items() if each is not longest]

    def charted_subject(self, history: History) -> str:
        return self.study.id if self.study else ""

    def event_at_cursor(self, history: History) -> str:
        return ""

    def unit_text(self, history: History) -> str:
        hidden = sum(row.trial.run_id in self._runs for row in self.rows) - len(self._histories)
        return f"{self._losses}, {history.unit}" + (f", {len(self._histories)} trials" if hidden > 0 else "")

    def exported_subject(self, history: History) -> tuple[str, str]:
        return (self.study.id, self.study.name) if self.study else ("study", "")

    def curves(self, entry: ChartEntry, history: History) -> list[Curve]:
        row = self.highlighted
        number = row.trial.number if row else 0
        settings = TrialCurveSettings(self._losses, self._smoothing, self._x_kind, number)
        return trial_curves(entry, self._charted_rows, self._histories, settings)

    def redraw(self) -> None:
        self._shown_state = ()
        self._draw_if_changed()

    def _draw_if_changed(self) -> None:
        study, runs = self.study, self._runs
        self.rows = study.rows(runs) if study else []
        self._charted_rows = charted_trials(self.rows, runs)
        wanted = [runs[row.trial.run_id].run for row in self._charted_rows]
        self._histories = {history.run.id: history for history in self.session.watcher.overlay(wanted)}
        states = [(runs[row.trial.run_id].state, runs[row.trial.run_id].queue_place) for row in self._charted_rows]
        read = [(history, history.summary.events, history.detail) for history in self._histories.values()]
        state = study, self.rows, states, read, self._forecasts, self.session.studies is None
        if state == self._shown_state:
            return
        self._shown_state = state
        self._arrange(study)
        self._draw_header(study)
        if study is not None and study.study is not None:
            self._draw_table(study)
            self._draw_chart()
            self._draw_side(study)
        self.query_one(FooterBar).update()

    def _draw_header(self, study: StudySnapshot | None) -> None:
        header, budget = self.query_one(HeaderBar), self.query_one("#budget", FigureBar)
        if study is None:
            header.left = [("study", "title")]
        else:
            parts = header_parts(study, self.rows, self._runs)
            header.left = joined(parts, header.inner_size[0] - 1)
        header.update()
        lines = state_lines(study, self.rows, self._remaining(study), header.inner_size[0]) if study else []
        budget.styles.height = min(3, max(1, len(lines)))
        budget.show([], lambda cells, height: lines)

    def _remaining(self, study: StudySnapshot) -> Remaining | None:
        """What a study that runs will still take."""
        if study.study is None or study.state != "running":
            return None
        runs = self._runs
        training = {
            row.trial.number: runs[row.trial.run_id].summary
            for row in self.rows
            if is_active(row, runs.get(row.trial.run_id))
        }
        return remaining(study.study, study.trials, training)

    def _draw_table(self, study: StudySnapshot) -> None:
        rows, order = self.rows, self.order
        by_key = {str(row.trial.number): row for row in rows}
        waiting = [request for _, request in study.waiting]
        table = trials_table(rows, self._runs, self._forecasts, order, waiting)
        heading = next((column.heading for column in table.columns if column.name == order.column), order.column)
        title: Line = [("trials", "title"), (f"  {len(rows)}", "dim")]
        title += [(f"  by {heading}{', reversed' if order.reverse else ''}", "dim")]

        def explain(key: str) -> str:
            if key not in by_key:
                return waiting_sentence(waiting, key) or "No trial yet: the controller starts the first."
            return explanation(by_key[key], rows, self._forecasts.get(by_key[key].trial.run_id))

        self.query_one(TrialsTable).show(table, title, explain)

    def _draw_chart(self) -> None:
        history, row = self.history, self.highlighted
        chart = self.chart(LOSS)
        if history is None:
            chart.curves = []
            chart.update()
            return
        ended = [each.trial.ended is None for each in self._charted_rows]
        made_with = (self._losses, row.trial.number if row else 0, [r.trial.number for r in self._charted_rows], ended)
        if made_with != self._drawn_with:
            self._drawn_with, self._drawn = made_with, ()
        self.draw_charts(history, finished=not any(ended))

    def draw_cursor(self, history: History) -> None:
        self._draw_chart()

    def _draw_side(self, study: StudySnapshot) -> None:
        importance, plot = self.query_one(ImportancePane), self.query_one(ScatterPane)
        if importance.display:
            self.measure_importance(study)
        if plot.display and study.study is not None:
            row = self.highlighted
            number, trials = row.trial.number if row else 0, study.trials
            if self._shown_view == "progress":
                plot.show(progress_plot(trials, number))
            elif self._shown_view == "front" and self._front_objective:
                plot.show(front_plot(trials, self._front_objective, number))
            else:
                found = slices(study.study.space, study.study.recipe, trials)
                plot.show(slice_plot(found[self._field % len(found)] if found else None, trials, number))

    @on(TrialsTable.Highlighted)
    def _highlight(self) -> None:
        if self.study is not None and self.study.study is not None:
            self._draw_table(self.study)
            self._draw_chart()
            self._draw_side(self.study)

    # -- layout ---------------------------------------------------------------------------------------------------

    @property
    def _beside(self) -> bool:
        """Whether there is space for the curves beside another view."""
        return not self.has_class("-narrow") and not self._only_one

    @property
    def _only_one(self) -> bool:
        """Whether there is space for one of the panes."""
        return self.has_class("-tiny") or self.has_class("-short")

    @property
    def _views(self) -> tuple[str, ...]:
        """The views that the key turns over at this size."""
        views = VIEWS if self._front_objective else VIEWS[:-1]
        if self._only_one:
            return ("table", *views)
        return views[1:] if self._beside else views

    @property
    def _front_objective(self) -> SecondObjective | None:
        study = self.study
        return front_objective(study.study, study.trials) if study and study.study else None

    @property
    def _shown_view(self) -> str:
        if self._view in self._views:
            return self._view
        results = sum(row.trial.bits_per_byte is not None for row in self.rows)
        if self._views[0] == "importance" and results < MIN_TRIALS:
            return "progress"  # there is no importance yet
        return self._views[0]

    def _arrange(self, study: StudySnapshot | None) -> None:
        message = self.query_one(StudyMessage)
        self.set_class(study is None or study.study is None, "-message")
        message.show_problem(study, self.session.studies is not None)
        for name in ("table", *VIEWS):
            self.set_class(name == self._shown_view, f"-view-{name}")
        table = self.query_one(TrialsTable)
        rows = min(table.rows_wanted, self.query_one("#body").size.height // 2)
        table.styles.height = "1fr" if self._only_one else max(4, rows)

    def action_study_view(self) -> None:
        views = self._views
        self._view = views[(views.index(self._shown_view) + 1) % len(views)]
        self._arrange(self.study)
        self.call_after_refresh(self._focus_view)

    def _focus_view(self) -> None:
        if self._only_one:
            pane = {"table": "#trials", "curves": f"#{LOSS.id}", "importance": "#importance"}.get(self._view, "#plot")
            self.set_focus(self.query_one(pane))
        self.redraw()

    def action_study_losses(self) -> None:
        self._losses = "training" if self._losses == "validation" else "validation"
        self.show_notice(f"Curves of the {self._losses} loss.")
        self.redraw()

    def action_study_field(self) -> None:
        if self._shown_view == "slices":
            self._field += 1
            self.redraw()
        else:
            self._view = "slices"
            self._arrange(self.study)
            self.call_after_refresh(self._focus_view)
