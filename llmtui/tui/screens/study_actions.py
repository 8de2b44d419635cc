"""What the keys of the screen of a study do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from textual import work

from core.errors import DiskError, LlmtuiError
from core.tune.halving import comparable
from core.tune.importance import FieldImportance
from core.tune.start import request_pause, request_stop, start, unpause
from core.tune.study import Study
from core.tune.tpe import MIN_TRIALS
from core.tune.trials import best_trial
from llmtui.clients.child_job import stream_child_job
from llmtui.tui.screens.chart_files import write_table
from llmtui.tui.screens.charted_screen import ChartedScreen
from llmtui.tui.screens.workbench_screen import show_error, show_screen
from llmtui.tui.widgets.study_panes import ImportancePane, TrialsTable
from llmtui.view.sanitize import shown
from llmtui.view.study_snapshot import StudySnapshot
from llmtui.view.study_table import BY_RESULT, Order, is_active, sort_columns, trials_table
from llmtui.view.study_text import TrialRow


class StudyActions(ChartedScreen):
    """Subclasses have a `TrialsTable` of the `rows`, and an `ImportancePane`."""

    rows: Sequence[TrialRow] = ()
    """All trials, by number."""
    _importance_of: tuple[str, int] = "", -1
    """Of which study, and of how many of its results, the importance was measured last."""

    @property
    def study(self) -> StudySnapshot | None:
        """The study shown."""
        return self.session.selected_study

    @property
    def highlighted(self) -> TrialRow | None:
        """The trial under the cursor."""
        row = self.query_one(TrialsTable).highlighted
        return next((each for each in self.rows if row and str(each.trial.number) == row.key), None)

    @property
    def order(self) -> Order:
        """Of the table."""
        state = self.session.ui_state
        return Order(state.study_sort or BY_RESULT.column, state.study_reversed)

    @property
    def has_controller(self) -> bool:
        """Whether the study has a controller."""
        return self.study is not None and self.study.state in ("running", "paused")

    @property
    def waiting_place(self) -> int | None:
        """The place in the queue, from 0, of the waiting trial under the cursor."""
        row, waiting = self.query_one(TrialsTable).highlighted, self.study.waiting if self.study else ()
        return next((n for n, (_, request) in enumerate(waiting) if row and request.id == row.key), None)

    def is_available(self, action: str) -> bool:
        study, row = self.study, self.highlighted
        if not action.startswith("study."):
            return super().is_available(action)
        if action == "study.choose":
            return len(self.session.studies or ()) > 1
        if study is None or study.study is None:
            return False
        match action.removeprefix("study."):
            case "pause" | "stop":
                return self.has_controller
            case "resume":
                return study.state == "stopped"
            case "best":
                return any(each.trial.bits_per_byte is not None for each in self.rows)
            case "drop":
                if row is None:
                    return self.waiting_place is not None
                return row.trial.paused is not None or is_active(row, self.snapshot)
            case "earlier" | "later":
                return self.waiting_place is not None
            case "retry":
                return row is not None and row.trial.ended is not None and row.trial.bits_per_byte is None
            case "promote":
                return row is not None and row.trial.paused is not None
            case "open" | "clone":
                return row is not None
        return True

    # -- the study ------------------------------------------------------------------------------------------------

    def known_study(self, verb: str) -> Study | None:
        """The study; a notice says why `verb` cannot be done if there is none."""
        study = self.study.study if self.study else None
        if study is None:
            self.show_notice(f"There is no study to {verb}.", "warn")
        return study

    @work(group="change study", exit_on_error=True)
    async def change(self, action: Callable[[], object], notice: str = "") -> None:
        """Do `action` in a thread, then show `notice`, or what it returns."""
        try:
            done = await asyncio.to_thread(action)
        except LlmtuiError as error:
            show_error(self.app, error)
        except OSError as error:
            show_error(self.app, DiskError.from_oserror(error, self.session.workspace.data))
        else:
            self.show_notice(notice or str(done))
            self.session.watcher.wake()

    def action_study_pause(self) -> None:
        study, workspace = self.known_study("pause"), self.session.workspace
        state = self.study.state if self.study else ""
        if study is None:
            return
        if state == "paused":
            self.change(lambda: unpause(study, workspace), f"{study.name} continues.")
        elif state == "running":
            self.change(lambda: request_pause(study), f"{study.name} pauses: its trials keep everything in memory.")
        else:
            self.show_notice(f"{study.name} is {state}: nothing to pause.", "warn")

    def action_study_stop(self) -> None:
        study, workspace = self.known_study("stop"), self.session.workspace
        if study is None:
            return
        if self.study and not self.has_controller:
            self.show_notice(f"{study.name} is {self.study.state}: nothing to stop.", "warn")
            return
        from llmtui.tui.screens.dialogs import Confirm

        def stop() -> None:
            unpause(study, workspace)
            request_stop(study)

        def on_answer(yes: bool | None) -> None:
            if yes:
                self.change(stop, f"{study.name} stops: its trials save a checkpoint each. r continues it.")

        question = f"Stop {study.name}? Its trials save checkpoints, with which it can be continued later."
        self.app.push_screen(Confirm(question, yes="stop the study", no="let it run"), on_answer)

    def action_study_resume(self) -> None:
        study, workspace = self.known_study("continue"), self.session.workspace
        state = self.study.state if self.study else ""
        if study is None:
            return
        if state == "paused":
            self.action_study_pause()
        elif state == "running":
            self.show_notice(f"{study.name} is running.", "warn")
        else:
            self.show_notice(f"Starting {study.name} …")
            self.change(lambda: start(study, workspace), f"{study.name} continues.")

    @work(exit_on_error=True)
    async def action_study_edit(self) -> None:
        from llmtui.tui.screens.study_dialogs import StudySettings

        study = self.known_study("edit")
        if study is None:
            return
        path = study.path / "study.toml"
        try:
            text = (await asyncio.to_thread(path.read_bytes)).decode(errors="replace")
        except OSError as error:
            show_error(self.app, DiskError.from_oserror(error, path))
            return

        def on_saved(saved: bool | None) -> None:
            if saved:
                more = "the next trial follows them" if self.has_controller else "r continues the study with them"
                self.show_notice(f"{study.name} has new settings: {more}.")
                self.session.watcher.wake()

        self.app.push_screen(StudySettings(path, study.recipe, text), on_saved)

    def action_study_choose(self) -> None:
        from llmtui.tui.screens.picker import Choice, Picker

        def choices() -> list[Choice]:
            found: list[Choice] = []
            for each in self.session.studies or ():
                best = best_trial(list(each.trials))
                bits = "" if best is None or best.bits_per_byte is None else f"best {best.bits_per_byte:.3f}  "
                state = "unreadable" if each.study is None else each.state
                found.append(Choice(each.id, each.name, f"{bits}{len(each.trials)} trials  {state}", each.id))
            return found

        def on_choice(name: str | None) -> None:
            if name is not None:
                self.session.remember(study=name)
                self.redraw()

        if not self.session.studies:
            self.show_notice("There is no study yet.", "warn")
            return
        current = self.study.id if self.study else ""
        self.app.push_screen(Picker("Studies", choices(), current=current, refreshed=choices), on_choice)

    # -- table and panes ------------------------------------------------------------------------------------------

    def action_study_sort(self) -> None:
        if not self.rows:
            self.show_notice("There is no trial to sort.", "warn")
            return
        from llmtui.tui.screens.picker import Choice, Picker

        def on_choice(name: str | None) -> None:
            if name is not None:
                self.session.remember(study_sort=name, study_reversed=False)
                self.redraw()

        choices = [Choice(name, shown(heading, 64), about, name) for name, heading, about in sort_columns(self.rows)]
        self.app.push_screen(Picker("Sort by", choices, current=self.order.column), on_choice)

    def action_study_reverse(self) -> None:
        self.session.remember(study_reversed=not self.session.ui_state.study_reversed)
        self.redraw()

    def action_study_right(self) -> None:
        self.query_one(TrialsTable).scroll_columns(1)

    def action_study_left(self) -> None:
        self.query_one(TrialsTable).scroll_columns(-1)

    @work(exit_on_error=True)
    async def action_study_export(self) -> None:
        if not self.rows or self.study is None:
            self.show_notice("There is no table to save yet.", "warn")
            return
        runs = {snapshot.run.id: snapshot for snapshot in self.session.watcher.snapshots}
        table, folder = trials_table(self.rows, runs, {}, self.order), self.session.workspace.exports
        name = f"{self.study.id}-trials"
        try:
            await asyncio.to_thread(write_table, table, folder, name)
        except OSError as error:
            show_error(self.app, DiskError.from_oserror(error, folder))
        else:
            self.show_notice(f"The table is saved in {folder} as {name}.csv and .json.")

    def measure_importance(self, study: StudySnapshot) -> None:
        """Measure the importance of fields anew if there are results that it was not measured with."""
        results = len(comparable([row.trial for row in self.rows])[1])
        pane = self.query_one(ImportancePane)
        if (study.id, results) == self._importance_of:
            return
        self._importance_of = study.id, results
        if results < MIN_TRIALS:
            pane.show((), 0, f"It is estimated from {MIN_TRIALS} results on; there are {results}.")
        elif study.study is not None:
            pane.show((), 0, "computing …")
            self._compute_importance(study.study, results)

    @work(exclusive=True, group="importance", exit_on_error=True)
    async def _compute_importance(self, study: Study, results: int) -> None:
        pane, found = self.query_one(ImportancePane), list[FieldImportance]()
        job = stream_child_job(
            self.session.workspace, "core.tune.importance", str(study.path), result_type=FieldImportance
        )
        try:
            async for each in job:
                found.append(each)
        except LlmtuiError as error:
            pane.show((), 0, error=error)
        except OSError as error:
            pane.show((), 0, error=LlmtuiError((error.strerror or str(error)).lower()))
        else:
            pane.show(found, results)

    def action_app_back(self) -> None:
        if self.leave_chart():
            self.redraw()
        else:
            self.session.shown_views.pop("compare", None)
            show_screen(self.app, "compare")
