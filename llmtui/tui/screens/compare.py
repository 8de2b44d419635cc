"""Compare: the losses of several runs over one another, what differs between them, and whether seeds differ as much."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from core.errors import DiskError
from core.plural import plural
from core.runs.origin import origin_of
from llmtui.tui.actions import bindings
from llmtui.tui.chart_table import LOSS, ChartEntry
from llmtui.tui.run_watcher import HistoryUpdated, RunsUpdated
from llmtui.tui.screens.chart_files import write_table
from llmtui.tui.screens.charted_screen import ChartedScreen
from llmtui.tui.screens.compare_curves import ComparisonCurves, CurveSettings, Losses
from llmtui.tui.screens.workbench_screen import show_error, show_screen
from llmtui.tui.widgets.bars import FooterBar, HeaderBar
from llmtui.tui.widgets.chart import Chart
from llmtui.tui.widgets.curve import Curve
from llmtui.tui.widgets.figure_pane import ScrollFigure
from llmtui.tui.widgets.table_pane import TablePane
from llmtui.view import run_text
from llmtui.view.comparison import MAX_RUNS, SORT, ComparedRun, Comparison, RunGroup
from llmtui.view.comparison_table import CursorColumn, comparison_table, sort_columns
from llmtui.view.comparison_text import difference_lines, verdict
from llmtui.view.data_table import DataTable
from llmtui.view.history import History
from llmtui.view.lines import Line
from llmtui.view.run_snapshot import RunSnapshot

VIEWS = ("table", "chart", "differences")
"""Panes that share a place where there is none for all; each is a class of the style sheet."""

FIRST_CHOICE = 6
"""Runs compared before any is marked: the newest ones."""


class Compare(ChartedScreen):
    """Chart, table, and the differences in words."""

    SCOPE = "compare"
    ENTRIES: ClassVar[tuple[ChartEntry, ...]] = (LOSS,)
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("compare")]
    CSS_PATH = "compare.tcss"
    AUTO_FOCUS: ClassVar[str] = "TablePane"

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[str, int] = {}
        """By run id; a run keeps its number while others come and go."""
        self._histories: dict[str, History] = {}
        """By run id, in the order of the choice."""
        self._comparison: Comparison | None = None
        self._expanded: frozenset[str] = frozenset()
        """Keys of the groups whose runs are shown, too."""
        self._losses: Losses = "training"
        self._view = VIEWS[0]
        self._maker = ComparisonCurves()
        self._curves_drawn: list[tuple[str, Curve]] = []
        self._shown_state: tuple[object, ...] = ()
        """The state of the runs as last drawn: while it stays the same, a tick draws nothing."""
        self._drawn_with: tuple[object, ...] = ()
        """What the curves were last made with, besides what every chart depends on."""

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        with Container(id="body"):
            with Container(id="upper"):
                yield Chart(LOSS.title, id=LOSS.id)
                yield ScrollFigure(id="differences")
            yield TablePane(id="table")
        yield from self.compose_footer()

    def on_mount(self) -> None:
        self.chart(LOSS).names_runs = False  # the table has their names

    def on_screen_resume(self) -> None:
        self._drawn, self._shown_state = (), ()
        self.redraw()

    @on(RunsUpdated)
    @on(HistoryUpdated)
    def _draw_if_current(self) -> None:
        if self.is_current:
            self._draw_if_changed()

    def on_resize(self) -> None:
        self.call_after_refresh(self.redraw)

    def is_available(self, action: str) -> bool:
        if action.startswith("compare.") and action not in ("compare.choose", "compare.studies"):
            return self._comparison is not None and (action != "compare.view" or not self._all_fit)
        return super().is_available(action)

    # -- the runs -------------------------------------------------------------------------------------------------

    def _chosen(self) -> list[RunSnapshot]:
        """The marked runs; before any is marked, the selected one and the newest others that have begun to train."""
        snapshots = {snapshot.run.id: snapshot for snapshot in self.session.watcher.snapshots}
        marked = [snapshots[name] for name in self.session.ui_state.compared if name in snapshots]
        if marked:
            return marked[:MAX_RUNS]
        trained = [s for s in snapshots.values() if s.summary.metric and not s.annotations.archived]
        trained.sort(key=lambda snapshot: snapshot.run.id != self.session.selected_id)
        return trained[:FIRST_CHOICE]

    def _compared(self, snapshots: list[RunSnapshot]) -> Comparison | None:
        ids, runs, state = [snapshot.run.id for snapshot in snapshots], [], self.session.ui_state
        self._numbers = {name: number for name, number in self._numbers.items() if name in ids}
        for snapshot in snapshots:
            name, taken = snapshot.run.id, self._numbers.values()
            self._numbers.setdefault(name, next(n for n in range(1, MAX_RUNS + 1) if n not in taken))
            origin = origin_of(snapshot.run, snapshot.summary, self._histories[name].curves.newest())
            runs.append(ComparedRun(self._numbers[name], snapshot, origin))
        if not runs:
            return None
        sort = state.compare_sort or SORT
        return Comparison(runs, baseline=state.baseline, sort=sort, reverse=state.compare_reversed)

    @property
    def _highlighted(self) -> RunGroup | None:
        """The group of the highlighted row, or the run of an expanded one by itself."""
        row = self.query_one(TablePane).highlighted
        if row is None or self._comparison is None:
            return None
        return self._comparison.found(row.key)

    # -- drawing --------------------------------------------------------------------------------------------------

    @property
    def history(self) -> History | None:
        """The longest of the runs: the cursor moves over its steps."""
        return max(self._histories.values(), key=lambda history: history.curves.loss.end, default=None)

    def other_histories(self) -> list[tuple[int, History]]:
        longest = self.history
        return [(self._numbers[name], each) for name, each in self._histories.items() if each is not longest]

    def charted_subject(self, history: History) -> str:
        return "comparison"

    def event_at_cursor(self, history: History) -> str:
        return ""

    def unit_text(self, history: History) -> str:
        return f"{self._losses}, {history.unit}"

    def exported_subject(self, history: History) -> tuple[str, str]:
        return "comparison", ", ".join(group.name for group in self._comparison.groups) if self._comparison else ""

    def curves(self, entry: ChartEntry, history: History) -> list[Curve]:
        settings = CurveSettings(self._losses, self._smoothing, self._x_kind, self._expanded)
        if self._comparison:
            self._curves_drawn = self._maker.made(entry, self._comparison, self._histories, settings)
        return [curve for _, curve in self._curves_drawn]

    def chart_note(self, history: History) -> Line:
        note = super().chart_note(history)
        if note or not any(curve.band for _, curve in self._curves_drawn):
            return note
        end = self._maker.common_end
        until = "" if end is None else f" up to step {end:,}, which all have"
        return [(f"line: mean of the seeds{until}; dotted: from the lowest to the highest", "dim")]

    def redraw(self) -> None:
        self._shown_state = ()
        self._draw_if_changed()

    def _draw_if_changed(self) -> None:
        snapshots = self._chosen()
        histories = self.session.watcher.overlay(snapshot.run for snapshot in snapshots)
        self._histories = {history.run.id: history for history in histories}
        runs = [(s.run, s.state, s.summary.events, s.train_loss, run_text.state(s)) for s in snapshots]
        state = runs, [(history, history.summary.events, history.detail) for history in histories]
        if state == self._shown_state:
            return
        self._shown_state = state
        self._comparison = self._compared(snapshots)
        header = self.query_one(HeaderBar)
        hint = "" if self.session.ui_state.compared or not snapshots else "  the newest ones; c chooses others"
        hint = "  c chooses more of them" if len(snapshots) == 1 else hint
        header.left = [("compare", "title"), (f"  {plural(len(snapshots), 'run')}", ""), (hint, "dim")]
        header.update()
        self._draw_chart(snapshots)
        self._draw_texts()
        self._arrange()
        self.query_one(FooterBar).update()

    def draw_cursor(self, history: History) -> None:
        self._draw_chart(self._chosen())
        self._draw_texts()

    def _draw_chart(self, snapshots: list[RunSnapshot]) -> None:
        history = self.history
        if history is None or self._comparison is None:
            self._curves_drawn, self.chart(LOSS).curves = [], []
            self.chart(LOSS).placeholder = "The curves of the runs come here, over one another."
            self.chart(LOSS).update()
            return
        keys = [(group.key, len(group.runs)) for group in self._comparison.groups]
        made_with = (self._losses, self._expanded, dict(self._numbers), sorted(keys))
        if made_with != self._drawn_with:
            self._drawn_with, self._drawn = made_with, ()
        self.draw_charts(history, finished=not any(snapshot.state.is_active for snapshot in snapshots))

    def _draw_texts(self) -> None:
        comparison, table, pane = self._comparison, self.query_one(TablePane), self.query_one(ScrollFigure)
        if comparison is None:
            table.show(DataTable(), [("runs", "title")], lambda _: "No run has begun to train: n on Home starts one.")
            pane.show([("differences", "title")], lambda _: [])
            return
        heading = next(heading for name, heading, _ in sort_columns(comparison) if name == comparison.sort)
        order = f"  by {heading}{', reversed' if self.session.ui_state.compare_reversed else ''}"

        def explain(key: str) -> str:
            group = comparison.found(key)
            if group is None or (self._all_fit and any(each.key == key for each in comparison.groups)):
                return ""  # the differences beside it say the same
            return verdict(comparison, group)

        shown_table = comparison_table(comparison, self._expanded, self._cursor_column())
        table.show(shown_table, [("runs", "title"), (order, "dim")], explain)
        pane.show([("differences", "title")], lambda cells: difference_lines(comparison, cells))

    def _cursor_column(self) -> CursorColumn | None:
        history, chart, cursor = self.history, self.chart(LOSS), self._cursor
        if cursor is None or history is None:
            return None
        texts: dict[str, str] = {}
        for key, curve in self._curves_drawn:
            found = curve.value_at(cursor, chart.smoothed(curve) if curve.smoothing else None)
            texts[key] = history.unit.text(found[1]) if found and cursor <= curve.series.end else "–"
        return CursorColumn(f"at {self._x_kind.label(history.positions(self._x_kind).at(cursor))}", texts)

    # -- layout ---------------------------------------------------------------------------------------------------

    @property
    def _all_fit(self) -> bool:
        tall = self.has_class("-normal") and self.has_class("-tall")
        return (tall or self.has_class("-wide")) and not self._only_one

    @property
    def _only_one(self) -> bool:
        """Whether there is space for one of the panes."""
        return self.has_class("-tiny") or self.has_class("-short")

    def _arrange(self) -> None:
        for name in VIEWS:
            self.set_class(name == self._view, f"-view-{name}")
        table = self.query_one(TablePane)
        rows = min(table.rows_wanted, self.query_one("#body").size.height // 2)
        table.styles.height = "1fr" if self._only_one else max(4, rows)

    def action_compare_view(self) -> None:
        views = VIEWS if self._only_one else ("table", "differences")
        if self._all_fit:
            self.show_notice("Chart, table and differences are all shown.")
            return
        self._view = views[(views.index(self._view) + 1) % len(views)] if self._view in views else views[0]
        self._arrange()
        self.call_after_refresh(self._focus_view)

    def _focus_view(self) -> None:
        self.set_focus(self.query_one({"chart": f"#{LOSS.id}"}.get(self._view, f"#{self._view}")))
        self.redraw()

    # -- actions --------------------------------------------------------------------------------------------------

    def action_compare_choose(self) -> None:
        from llmtui.tui.screens.run_chooser import RunChooser

        if not self.session.watcher.snapshots:
            self.show_notice("There is no run to compare.", "warn")
            return
        chosen, archived = [snapshot.run.id for snapshot in self._chosen()], self.session.ui_state.archived
        listed = [
            snapshot
            for snapshot in self.session.watcher.snapshots
            if archived or not snapshot.annotations.archived or snapshot.run.id in chosen
        ]
        chooser = RunChooser(listed, chosen, lambda ids: self.session.remember(compared=ids))
        self.app.push_screen(chooser, lambda _: self.redraw())

    def action_compare_open(self) -> None:
        group = self._highlighted
        if group is None:
            return
        if len(group.runs) > 1:
            self._expanded ^= {group.key}
            self.redraw()
        else:
            self.session.select(group.runs[0].snapshot.run)
            show_screen(self.app, "train")

    def action_compare_baseline(self) -> None:
        group = self._highlighted
        if group:
            self.session.remember(baseline=group.runs[0].snapshot.run.id)
            self.redraw()

    def action_compare_losses(self) -> None:
        self._losses = "training" if self._losses == "validation" else "validation"
        self.show_notice(f"Curves of the {self._losses} loss.")
        self.redraw()

    def action_compare_sort(self) -> None:
        from llmtui.tui.screens.picker import Choice, Picker

        if self._comparison is None:
            return

        def on_choice(name: str | None) -> None:
            if name is not None:
                self.session.remember(compare_sort=name, compare_reversed=False)
                self.redraw()

        choices = [Choice(name, heading, about, name) for name, heading, about in sort_columns(self._comparison)]
        self.app.push_screen(Picker("Sort by", choices, current=self._comparison.sort), on_choice)

    def action_compare_reverse(self) -> None:
        self.session.remember(compare_reversed=not self.session.ui_state.compare_reversed)
        self.redraw()

    def action_compare_right(self) -> None:
        self.query_one(TablePane).scroll_columns(1)

    def action_compare_left(self) -> None:
        self.query_one(TablePane).scroll_columns(-1)

    def action_compare_studies(self) -> None:
        show_screen(self.app, "study")

    async def action_compare_export(self) -> None:
        if self._comparison is None:
            self.show_notice("There is no table to save yet.", "warn")
            return
        table, folder = comparison_table(self._comparison), self.session.workspace.data / "exports"
        try:
            await asyncio.to_thread(write_table, table, folder, "comparison-table")
        except OSError as error:
            show_error(self.app, DiskError.from_oserror(error, folder))
        else:
            self.show_notice(f"The table is saved in {folder} as comparison-table.csv and .json.")

    def action_app_back(self) -> None:
        if self.leave_chart():
            self.redraw()
        else:
            show_screen(self.app, "home")
