"""Home: the list of runs, the stages of the highlighted one, and what to do next."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.widgets import Input
from textual.worker import Worker

from core.plural import plural
from core.runs.queue import move
from core.storage.workspace import Workspace, free_bytes
from llmtui.tui.actions import bindings
from llmtui.tui.run_watcher import HistoryUpdated, RunsUpdated
from llmtui.tui.screens.annotated_screen import AnnotatedScreen
from llmtui.tui.screens.workbench_screen import show_screen
from llmtui.tui.widgets.bars import FooterBar, HeaderBar
from llmtui.tui.widgets.home_panes import (
    FilterHint,
    NextSteps,
    PreviewPane,
    SamplePreview,
    StagesPreview,
    WelcomePane,
)
from llmtui.tui.widgets.pane import Pane
from llmtui.tui.widgets.runs_list import RunsList
from llmtui.view.run_columns import DEFAULT, all_columns
from llmtui.view.run_filter import EXAMPLE
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown_path

if TYPE_CHECKING:
    from llmtui.tui.screens.loss_preview import LossPreview


REST = 0.2
"""Seconds that the cursor stays on a run before its journal is read for the curve."""


class Home(AnnotatedScreen):
    """The list of runs above, the highlighted one below."""

    SCOPE = "home"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("home")]
    CSS_PATH = "home.tcss"
    AUTO_FOCUS: ClassVar[str] = "RunsList"

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        yield WelcomePane()
        with Container(id="body"):
            yield RunsList(id="runs")
            with Container(id="below"):
                yield StagesPreview(id="stages")
                yield SamplePreview(id="sampled")
                yield NextSteps(id="next")
        yield Input(placeholder=EXAMPLE, id="filter")
        yield FilterHint(id="filter-hint")
        yield from self.compose_footer()

    def on_mount(self) -> None:
        self._show_filter(False)
        self._show_welcome()
        self._curve: LossPreview | None = None
        self._machine = ""
        """Shown at the end of the first line; empty until it has been read."""
        self.call_after_refresh(self._read_hardware)  # the first frame does not wait for it
        state, runs = self.session.ui_state, self.query_one(RunsList)
        runs.column_names, runs.sort = state.columns, state.sort
        runs.reverse, runs.archived, runs.trials = state.sort_reversed, state.archived, state.trials

    @property
    def snapshot(self) -> RunSnapshot | None:
        return self.query_one(RunsList).highlighted

    def is_available(self, action: str) -> bool:
        has_runs = bool(self.session.watcher.snapshots)
        return (has_runs or not action.startswith("home.")) and super().is_available(action)

    def on_screen_resume(self) -> None:
        runs, selected = self.query_one(RunsList), self.session.selected
        if selected and not runs.filter.matches(selected):
            self.query_one("#filter", Input).value = ""
            runs.set_filter("")
        runs.highlight(self.session.selected_id)
        self._show_marks()
        runs.show(self.session.watcher.snapshots, self.session.watcher.unreadable)
        self._show()
        self._follow_highlighted()

    @on(RunsUpdated)
    def _on_runs_updated(self, message: RunsUpdated) -> None:
        self._read_memory()
        self._show_welcome()
        self.query_one(RunsList).show(message.snapshots, self.session.watcher.unreadable)
        self._show()

    @on(RunsList.Highlighted)
    def _select_highlighted(self) -> None:
        if self.snapshot:
            self.session.select(self.snapshot.run)
        self._show()
        self._follow_highlighted()

    def on_resize(self) -> None:
        self.call_after_refresh(self._add_curve)

    async def _add_curve(self) -> None:
        """Add the losses of the highlighted run where there is space for them."""
        if self.has_class("-wide") and self.has_class("-tall") and self._curve is None and self.is_mounted:
            from llmtui.tui.screens.loss_preview import LossPreview

            self._curve = LossPreview()
            await self.query_one("#below").mount(self._curve, after="#stages")
            self._follow_highlighted()
        self._show_curve()

    def _follow_highlighted(self) -> None:
        if self._curve is not None:
            # not a coroutine: one that is cancelled before it starts is reported as never awaited
            _: Worker[None] = self.run_worker(self._follow, exclusive=True, group="curve", exit_on_error=True)

    async def _follow(self) -> None:
        await asyncio.sleep(REST)
        if self.snapshot and self._curve and self._curve.display:
            self.session.watcher.follow(self.snapshot.run)

    @on(HistoryUpdated)
    def _show_curve(self) -> None:
        if self._curve is not None and self._curve.is_mounted:
            history, snapshot = self.session.watcher.history, self.snapshot
            own = history if history and snapshot and history.run.id == snapshot.run.id else None
            self._curve.show(snapshot, own, self.session.settings.smoothing, self.session.ui_state.log)

    def _show_welcome(self) -> None:
        empty = not self.session.watcher.snapshots and not self.session.watcher.unreadable
        self.set_class(empty, "-empty")

    def _read_hardware(self) -> None:
        self.run_worker(self._read_machine(), exit_on_error=True)
        self._read_memory()

    async def _read_machine(self) -> None:
        """Show this machine in the welcome pane; a driver of GPUs may take a second to answer."""
        pane = self.query_one(WelcomePane)
        pane.machine = await asyncio.to_thread(_described_machine, self.session.workspace)
        pane.update()

    @work(exclusive=True, group="memory", exit_on_error=True)
    async def _read_memory(self) -> None:
        """Read how much memory is free, which the event loop must not wait for; the next update shows it."""
        before, self._machine = self._machine, await asyncio.to_thread(_machine, self.session.over_ssh)
        if not before and self.is_mounted and self.is_current:  # else it is drawn when it comes back
            self._show()

    def _show(self) -> None:
        header = self.query_one(HeaderBar)
        header.left = [("llmtui", "title"), ("  " + shown_path(self.session.workspace.data), "dim")]
        header.right = [(self._machine, "dim")]
        header.update()
        self.query_one(NextSteps).snapshots = self.session.watcher.snapshots
        for pane in self.query(PreviewPane):
            pane.snapshot = self.snapshot
            pane.update()
        self._show_curve()
        self.query_one("#keys", Pane).update()
        self.query_one(WelcomePane).update()

    # -- actions --------------------------------------------------------------------------------------------------

    def action_home_open(self) -> None:
        if self.snapshot:
            self.session.select(self.snapshot.run)
            show_screen(self.app, "train")

    def action_home_filter(self) -> None:
        self._show_filter(True)
        self.query_one("#filter").focus()

    def _show_filter(self, visible: bool) -> None:
        footer = self.query_one(FooterBar)
        footer.override = [("enter", "keep the filter"), ("esc", "show all")] * visible
        footer.update()
        self.query_one("#filter").display = self.query_one(FilterHint).display = visible

    @on(Input.Changed, "#filter")
    def _filter(self, message: Input.Changed) -> None:
        runs, hint = self.query_one(RunsList), self.query_one(FilterHint)
        runs.set_filter(message.value)
        hint.problems = runs.filter.problems
        hint.update()

    @on(Input.Submitted, "#filter")
    def _keep_filter(self) -> None:
        self._show_filter(False)
        self.query_one(RunsList).focus()

    def action_app_back(self) -> None:
        self.query_one("#filter", Input).value = ""
        self._keep_filter()

    def _arrange(self, **changes: Any) -> None:
        """Remember fields of the `UiState` about the list, and apply them."""
        self.session.remember(**changes)
        self.query_one(RunsList).rearrange()
        self._show()

    def action_home_sort(self) -> None:
        from llmtui.tui.screens.picker import Choice, Picker

        runs = self.query_one(RunsList)
        choices = [Choice("", "newest first", "as they were created")]
        choices += [Choice(column.name, column.heading, column.description, column.name) for column in all_columns()]

        def on_choice(name: str | None) -> None:
            if name is not None:
                runs.sort, runs.reverse = name, False
                self._arrange(sort=name, sort_reversed=False)

        self.app.push_screen(Picker("Sort by", choices, current=runs.sort), on_choice)

    def action_home_mark(self) -> None:
        snapshot, marked = self.snapshot, self.session.ui_state.compared
        if snapshot is None:
            self.show_notice("There is no run to mark.", "warn")
            return
        from llmtui.view.comparison import MAX_RUNS

        name = snapshot.run.id
        if name not in marked and len(marked) >= MAX_RUNS:
            self.show_notice(f"{MAX_RUNS} runs are marked, which is the limit.", "warn")
            return
        marked = tuple(each for each in marked if each != name) if name in marked else (*marked, name)
        self.session.remember(compared=marked)
        self._show_marks()
        counts = {0: "No run is marked.", 1: "1 run is marked; mark another, and 6 compares them."}
        self.show_notice(counts.get(len(marked), f"{len(marked)} runs are marked; 6 compares them."))

    def _show_marks(self) -> None:
        runs = self.query_one(RunsList)
        runs.marked = frozenset(self.session.ui_state.compared)
        runs.update()

    def action_home_reverse(self) -> None:
        runs = self.query_one(RunsList)
        runs.reverse = not runs.reverse
        self._arrange(sort_reversed=runs.reverse)

    def action_home_columns(self) -> None:
        from llmtui.tui.screens.picker import Choice
        from llmtui.tui.screens.toggles import Toggles

        runs = self.query_one(RunsList)
        chosen = runs.column_names or DEFAULT
        columns = [column for column in all_columns() if column.name != "name"]
        columns.sort(key=lambda column: chosen.index(column.name) if column.name in chosen else len(chosen))

        def toggle(name: str) -> tuple[str, ...]:
            before = runs.column_names or DEFAULT
            kept = tuple(each for each in before if each != name)
            runs.column_names = kept if name in before else (*kept, name)
            self._arrange(columns=runs.column_names)
            return runs.column_names

        choices = [Choice(column.name, column.heading, column.description, column.name) for column in columns]
        self.app.push_screen(Toggles("Columns", choices, chosen, toggle))

    def action_home_archived(self) -> None:
        runs = self.query_one(RunsList)
        runs.archived = not runs.archived
        self._arrange(archived=runs.archived)
        count = plural(runs.archived_count, "archived run")
        self.show_notice(f"{count} {'shown' if runs.archived else 'hidden'}.")

    def action_home_trials(self) -> None:
        runs = self.query_one(RunsList)
        runs.trials = not runs.trials
        self._arrange(trials=runs.trials)
        self.show_notice(
            "Trials of studies are listed." if runs.trials else "Trials are listed while they are active, or found."
        )

    def action_run_study(self) -> None:
        if self.snapshot is None:
            self.show_notice("There is no run whose recipe a study could start with: n sets one up.", "warn")
            return
        from llmtui.tui.screens.new_study import ask_for_study

        ask_for_study(self.app, self.snapshot.run.recipe)

    # -- queue ---------------------------------------------------------------------------------------------------------

    def action_run_earlier(self) -> None:
        self._move_in_queue(-1, "one run earlier")

    def action_run_later(self) -> None:
        self._move_in_queue(1, "one run later")

    def _move_in_queue(self, places: int, what: str) -> None:
        snapshot = self.active_run("move")
        if snapshot:
            self.send_request(lambda: move(snapshot.run, places), f"{snapshot.run.name} starts {what}.")


def _described_machine(workspace: Workspace) -> str:
    from core.hardware import available_memory, machine
    from llmtui.view.welcome import machine_text

    return machine_text(machine(), available_memory(), free_bytes(workspace.data))


def _machine(over_ssh: bool) -> str:
    """Cores and free memory of this machine, and whether it is reached over SSH."""
    import psutil

    memory = psutil.virtual_memory()
    parts = [plural(os.cpu_count() or 1, "core"), f"{memory.available / 2**30:.0f}/{memory.total / 2**30:.0f} GiB free"]
    if over_ssh:
        parts.append("ssh")
    return " · ".join(parts)
