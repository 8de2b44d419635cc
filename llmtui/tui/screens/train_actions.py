"""What the keys of the Train screen do, apart from those of the charts and of every screen about a run."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from core.checkpoints import nearest_checkpoint, readable_checkpoints, step_of
from core.errors import LlmtuiError
from core.events import GeneratedSample
from core.recipe.schema import Recipe
from core.runs.control import request_learning_rate
from core.runs.directory import Run
from core.runs.remote_state import inference_paths
from core.train.lr_changes import lr_change_factor, read_lr_changes
from llmtui.tui.chart_table import LOSS
from llmtui.tui.screens.charted_screen import ChartedScreen
from llmtui.tui.screens.workbench_screen import show_error, show_screen
from llmtui.view.axes import scientific
from llmtui.view.history import History
from llmtui.view.step_marks import StepMark, step_marks

_NO_SAMPLE = "There is no sample yet; s requests one during training."


class TrainActions(ChartedScreen):
    """Branches of the run that is shown, its learning rate, and the marks on its charts."""

    def marks(self, history: History) -> list[StepMark]:
        return step_marks(history, self.snapshot.annotations) if self.snapshot else []

    def event_at_cursor(self, history: History) -> str:
        """What is marked in the column of the cursor, else the nearest event."""
        chart, at = self.chart(LOSS), history.positions(self._x_kind).at
        if chart.axis is None or self._cursor is None:
            return ""
        column = chart.axis.dot(at(self._cursor)) // 2
        found = [mark for mark in chart.marks if chart.axis.dot(at(mark.step)) // 2 == column]
        return f"{found[-1].glyph} {found[-1].text}" if found else super().event_at_cursor(history)

    def action_run_branch(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            self.show_notice("There is no run to branch.", "warn")
        else:
            self.run_worker(self._choose_checkpoint(snapshot.run), group="branch", exclusive=True)

    async def _choose_checkpoint(self, run: Run) -> None:
        """Ask where the branch begins; the choice is first at the checkpoint before the cursor of the chart."""
        from llmtui.tui.screens.chat_checkpoints import about_checkpoint
        from llmtui.tui.screens.picker import Choice, Picker

        found = await asyncio.to_thread(readable_checkpoints, run.checkpoints)
        if not found:
            self.show_notice(f"{run.name} has no checkpoint yet: c saves one at the next step.", "warn")
            return
        paths = {checkpoint.path.name: checkpoint.path for checkpoint in reversed(found)}
        if len(found) == 1:
            self._show_branch_form(run, found[0].path)
            return
        step = self.marked_step
        current = found[-1] if step is None else nearest_checkpoint(found, step + 1) or found[-1]
        choices = [
            Choice(checkpoint.path.name, f"step {step_of(checkpoint.path):,}", about_checkpoint(checkpoint))
            for checkpoint in reversed(found)
        ]

        def on_chosen(name: str | None) -> None:
            if name is not None:
                self._show_branch_form(run, paths[name])

        title = f"Branch of {run.name}: the checkpoint that it begins with"
        self.app.push_screen(Picker(title, choices, current=current.path.name), on_chosen)

    def _show_branch_form(self, run: Run, checkpoint: Path) -> None:
        from llmtui.tui.screens.new_run import NewRun

        form = self.session.draft("branch", run, checkpoint)

        def on_recipe(recipe: Recipe | None) -> None:
            if recipe is not None:
                self.app.run_worker(self._start_branch(run, checkpoint, recipe, form.draft_key), exit_on_error=True)

        self.app.push_screen(NewRun(form), on_recipe)

    async def _start_branch(self, run: Run, checkpoint: Path, recipe: Recipe, draft: str) -> None:
        self.show_notice(f"Checking the checkpoint of step {step_of(checkpoint):,} …")
        try:
            branch = await self.session.create_branch(run, checkpoint, recipe)
        except LlmtuiError as error:
            show_error(self.app, error)
            return
        self.session.drafts.pop(draft, None)
        self.start_run(branch)
        show_screen(self.app, "train")

    def action_run_rate(self) -> None:
        snapshot = self.active_run("change the learning rate of")
        if snapshot:
            self.run_worker(self._ask_rate(snapshot.run), group="rate", exclusive=True)

    async def _ask_rate(self, run: Run) -> None:
        from llmtui.tui.screens.learning_rate import LearningRateDialog

        try:
            changes = await asyncio.to_thread(read_lr_changes, run.checkpoints)
        except LlmtuiError as error:
            show_error(self.app, error)
            return
        present = lr_change_factor(changes, changes[-1].step) if changes else 1.0

        def on_factor(factor: float | None) -> None:
            if factor is not None and factor != present:
                peak = scientific(factor * run.recipe.train.lr)
                notice = f"{run.name} saves a checkpoint, then continues at a peak of {peak}."
                self.send_request(lambda: request_learning_rate(run, factor), notice)

        self.app.push_screen(LearningRateDialog(run.name, run.recipe.train, present), on_factor)

    @property
    def _samples(self) -> list[GeneratedSample]:
        """Those that the history keeps, oldest first."""
        kept = self.history.curves.events.get("sample", ()) if self.history else ()
        return [event for _, event in kept if isinstance(event, GeneratedSample)]

    def action_run_samples(self) -> None:
        if samples := self._samples:
            from llmtui.tui.screens.sample_list import SampleList

            self.app.push_screen(SampleList(samples))
        else:
            self.show_notice(_NO_SAMPLE, "warn")

    def action_run_film(self) -> None:
        history, samples = self.history, self._samples
        if history is None or (not samples and not inference_paths(history.run)):
            self.show_notice(_NO_SAMPLE, "warn")
            return
        from llmtui.clients.checkpoint_samples import sample_checkpoints, sample_templates
        from llmtui.tui.screens.growth_film import GrowthFilm

        generate = partial(sample_checkpoints, self.session.inference_client, history.run)
        self.app.push_screen(GrowthFilm(samples, sample_templates(history.run.recipe.sample), generate))
