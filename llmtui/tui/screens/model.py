"""Model: the architecture of a run or a preset as a picture, the figures of each part, the weights in checkpoints."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.worker import get_current_worker

from core.errors import LlmtuiError
from core.hardware import memory_for
from core.model.memory_fit import precision_plans
from core.recipe.file import load
from core.runs.directory import Run
from llmtui.clients.checkpoint_weights import read_weights
from llmtui.tui.actions import bindings
from llmtui.tui.model_draft import ModelDraft, presets_by_size
from llmtui.tui.run_watcher import RunsUpdated
from llmtui.tui.screens.picker import Choice, Picker
from llmtui.tui.screens.run_screen import RunScreen
from llmtui.tui.screens.save_recipe import SaveRecipe
from llmtui.tui.screens.workbench_screen import show_screen
from llmtui.tui.widgets.architecture import FiguresPane, PicturePane, StepPane
from llmtui.tui.widgets.bars import FooterBar, HeaderBar
from llmtui.tui.widgets.weights_pane import WeightsPane
from llmtui.view import run_text
from llmtui.view.architecture_figures import change
from llmtui.view.units import count
from llmtui.view.weights_text import CheckpointWeights

STACKED_BELOW = 72
"""Columns below which the parts of the screen are below one another."""

ROOMY_COLUMNS = 80
"""Columns from which the header has the FLOPs, too."""
ROOMY_ROWS = 30
"""Rows from which memory and time fit below the step, in brief; all of them in a high terminal."""

SMALLEST = "demo"
"""The preset that is shown before there is a run."""


class Model(RunScreen):
    """Picture at the left, the highlighted step beside or below it, weights at the right or instead of the step."""

    SCOPE = "model"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("model")]
    CSS_PATH = "model.tcss"
    AUTO_FOCUS: ClassVar[str] = "PicturePane"

    def __init__(self) -> None:
        super().__init__()
        self._drafts: dict[str, ModelDraft] = {}
        """By run id, or by "preset NAME"."""
        self._preset = ""
        """Shown instead of the selected run; empty: the run."""
        self._beside = ""
        """The id of the run that was selected when the preset was chosen: another one is shown again."""
        self._free: dict[str, tuple[int, bool]] = {}
        """Free memory for training by train.device, and whether it is a GPU's."""
        self._weights: dict[str, dict[str, CheckpointWeights]] = {}
        """Statistics of checkpoints that have been read, by run id, then as `read_weights` names them."""
        self._opened: dict[str, int] = {}
        """Runs whose weights are shown, with the newest step whose checkpoint has been looked for."""
        self._statuses: dict[str, str] = {}
        """By run id: what is being read, or why it cannot be."""
        self._chosen: dict[str, int] = {}
        """By run id: the step whose histograms are shown; left out: the newest."""
        self._block = 0

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        with Container(id="body"):
            yield PicturePane(id="picture")
            with Container(id="side"):
                yield StepPane(id="step")
                yield FiguresPane(id="figures")
            yield WeightsPane(id="weights")
        yield from self.compose_footer()

    def entered(self) -> None:
        if self.session.selected_id != self._beside:
            self._preset = ""

    def on_screen_resume(self) -> None:
        self._show()

    def on_screen_suspend(self) -> None:
        if self._run and any(worker.group == "weights" and worker.is_running for worker in self.workers):
            self.workers.cancel_group(self, "weights")
            self._opened[self._run.id] = -1  # so that it is read when the screen is shown again

    def on_resize(self) -> None:
        self.set_class(self.app.size.width < STACKED_BELOW, "-stacked")
        self.set_class(self.app.size.height >= ROOMY_ROWS, "-roomy")
        self.call_after_refresh(self._show)

    @on(RunsUpdated)
    def _runs_updated(self) -> None:
        if self.is_current:
            self._show()

    # -- what is shown --------------------------------------------------------------------------------------------

    @property
    def _run(self) -> Run | None:
        """The run whose model is shown; None: it is a preset's."""
        return self.snapshot.run if self.snapshot and not self._preset else None

    @property
    def draft(self) -> ModelDraft:
        """The model shown: of the preset that was chosen, else of the selected run, else of the smallest preset."""
        snapshot = self.snapshot
        if snapshot and not self._preset:
            draft = self._drafts.get(snapshot.run.id)
            if draft is None or draft.base != snapshot.run.recipe:
                draft = self._drafts[snapshot.run.id] = ModelDraft(run_text.name(snapshot), snapshot.run.recipe)
            draft.set_vocabulary(snapshot.summary.shape.vocabulary if snapshot.summary.shape else 0)
            return draft
        title = f"preset {self._preset or SMALLEST}"
        if title not in self._drafts:
            self._drafts[title] = ModelDraft(title, load(preset=self._preset or SMALLEST))
        return self._drafts[title]

    def _show(self) -> None:
        if not self.is_mounted:
            return
        draft, run = self.draft, self._run
        self._show_header(draft)
        self._show_figures(draft)
        weights = self.query_one(WeightsPane)
        checkpoints = sorted(self._weights.get(run.id, {}).values(), key=attrgetter("step")) if run else []
        weights.checkpoints, weights.status = checkpoints, self._weights_status(run)
        weights.step = self._step_shown(checkpoints)
        weights.block = self._block = min(self._block, draft.base.model.n_layer - 1)
        for pane in (self.query_one(PicturePane), self.query_one(StepPane), weights):
            pane.draft = draft
            pane.update()
        self.query_one(FooterBar).update()
        self._follow_checkpoints()

    def _show_header(self, draft: ModelDraft) -> None:
        header, total, before = self.query_one(HeaderBar), draft.figures.total, draft.before.total
        changed = change(total.parameters, before.parameters)
        header.left = [("model", "title"), (f"  {draft.title}", "bold")]
        header.left += [("  changed", "accent")] if draft.is_changed else []
        header.right = [(f"{total.parameters:,} parameters", ""), (f" {changed}" if changed else "", "accent")]
        if self.app.size.width >= ROOMY_COLUMNS:
            header.right += [(f" · {count(total.flops)} FLOPs per token", "dim")]
        header.update()

    def _show_figures(self, draft: ModelDraft) -> None:
        pane, device = self.query_one(FiguresPane), draft.recipe.train.device
        if device not in self._free:
            self._read_memory(device)
        free = self._free.get(device, (0, False))
        pane.draft, pane.summary = draft, self.snapshot.summary if self.snapshot and self._run else None
        pane.plans = precision_plans(draft.recipe, draft.vocabulary, *free) if free[0] else ()
        pane.before = precision_plans(draft.base, draft.base_vocabulary, *free) if free[0] else ()
        pane.update()

    @work(thread=True, group="memory", exclusive=True)
    def _read_memory(self, device: str) -> None:
        free = memory_for(device)
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._set_memory, device, free)

    def _set_memory(self, device: str, free: tuple[int, bool]) -> None:
        self._free[device] = free
        self._show()

    @on(PicturePane.Moved)
    def _moved(self) -> None:
        self.query_one(StepPane).reset_scroll()
        self.query_one(WeightsPane).reset_scroll()
        self._show()

    def is_available(self, action: str) -> bool:
        if action == "model.undo":
            return self.draft.is_changed
        if action in ("model.weights", "run.export"):
            return self._run is not None
        if action in ("model.block_after", "model.block_before", "model.checkpoint"):
            return bool(self._run and self._weights.get(self._run.id)) and self._weights_visible
        return super().is_available(action)

    # -- changes --------------------------------------------------------------------------------------------------

    def action_model_next(self) -> None:
        self._change(1)

    def action_model_previous(self) -> None:
        self._change(-1)

    def _change(self, by: int) -> None:
        if self.draft.change(by):
            self._show()
        else:
            end = "largest" if by > 0 else "smallest"
            self.show_notice(f"{self.draft.field} has its {end} value that fits the other fields.")

    def action_model_field(self) -> None:
        self.draft.next_field()
        self._show()

    def action_model_undo(self) -> None:
        if self.draft.undo():
            self._show()
        else:
            self.show_notice("Nothing has been changed.")

    def action_model_preset(self) -> None:
        choices = [Choice("preset", f"run {self.snapshot.run.name}", "selected")] if self.snapshot else []
        choices += [Choice(f"preset {n}", n, f"{count(size)} parameters") for n, size in presets_by_size()]

        def on_choice(choice: str | None) -> None:
            if choice is not None:
                self._preset = choice.removeprefix("preset").strip()
                self._beside = self.session.selected_id
                self._show()

        current = "preset" if self._run else f"preset {self._preset or SMALLEST}"
        self.app.push_screen(Picker("Models, by size", choices, current=current), on_choice)

    def action_run_export(self) -> None:
        if self._run is None:
            self.show_notice("A preset has no checkpoint to export: select a run, on screen 1.")
        else:
            super().action_run_export()

    def action_model_save(self) -> None:
        def on_saved(path: Path | None) -> None:
            if path is not None:
                self.show_notice(f"Saved: llmtui run {path}")

        self.app.push_screen(SaveRecipe(self.draft.recipe), on_saved)

    def action_model_train(self) -> None:
        run = self._run
        form = self.session.draft("like", run) if run else self.session.draft("new")
        form.set_model(self.draft.recipe, self._preset or SMALLEST)
        self.show_form(form)

    # -- weights --------------------------------------------------------------------------------------------------

    @property
    def _weights_visible(self) -> bool:
        return self.has_class("-inside") or self.has_class("-wide")

    def _step_shown(self, checkpoints: list[CheckpointWeights]) -> int:
        """The step whose histograms are shown: the one chosen while it is there, else the newest; 0: none."""
        chosen = self._chosen.get(self._run.id, 0) if self._run else 0
        steps = [found.step for found in checkpoints]
        return chosen if chosen in steps else max(steps, default=0)

    def _weights_status(self, run: Run | None) -> str:
        if run is None:
            return "A preset has no weights: those of a run's checkpoints are shown here."
        if run.id not in self._opened:
            return "enter reads the weights of the checkpoints: norms, their course over the steps, and histograms."
        return self._statuses.get(run.id, "")

    def action_model_weights(self) -> None:
        if self._run is None:
            self.show_notice("A preset has no weights: select a run, on screen 1.")
            return
        if not self.has_class("-wide"):  # where they are shown anyway
            self.toggle_class("-inside")
        self._opened.setdefault(self._run.id, -1)
        self._show()

    def _follow_checkpoints(self) -> None:
        """Read the checkpoints of a run that was opened, and again when there is a new one."""
        snapshot, run = self.snapshot, self._run
        if run is None or snapshot is None or run.id not in self._opened or not self._weights_visible:
            return
        newest = snapshot.summary.saved.step if snapshot.summary.saved else 0
        if self._opened[run.id] != newest:
            self._opened[run.id] = newest
            self._statuses[run.id] = "Reading the checkpoints …"
            self._read_weights(run)

    @work(thread=True, group="weights", exclusive=True)
    def _read_weights(self, run: Run) -> None:
        worker = get_current_worker()
        found, status = self._weights.get(run.id, {}), ""
        results = read_weights(self.session.workspace, run, found)
        try:
            for result in results:
                if worker.is_cancelled:
                    return
                if result is not None:
                    found, total = result
                    status = "" if total else "There is no checkpoint yet."
                    if len(found) < total:
                        progress = f"{len(found):,} of {total:,} checkpoints read …"
                        self.app.call_from_thread(self._set_weights, run, found, progress)
        except LlmtuiError as error:
            status = f"The weights cannot be read: {error.what}. {error.todo}".strip()
        finally:
            results.close()
        if not worker.is_cancelled:
            self.app.call_from_thread(self._set_weights, run, found, status)

    def _set_weights(self, run: Run, weights: dict[str, CheckpointWeights], status: str) -> None:
        self._weights[run.id], self._statuses[run.id] = weights, status
        self._show()

    def action_model_block_after(self) -> None:
        self._block += 1
        self._show()

    def action_model_block_before(self) -> None:
        self._block = max(0, self._block - 1)
        self._show()

    def action_model_checkpoint(self) -> None:
        run = self._run
        found = sorted(self._weights.get(run.id, {}).values(), key=attrgetter("step"), reverse=True) if run else []
        if run is None or not found:
            self.show_notice("No checkpoint has been read: enter reads them.")
            return
        choices = [Choice(str(checkpoint.step), f"step {checkpoint.step:,}") for checkpoint in found]

        def on_choice(choice: str | None) -> None:
            if choice is not None:
                self._chosen[run.id] = int(choice)
                self._show()

        current = str(self._step_shown(found))
        self.app.push_screen(Picker("Weights of which checkpoint", choices, current=current), on_choice)

    def action_app_back(self) -> None:
        if self.has_class("-inside") and not self.has_class("-wide"):
            self.remove_class("-inside")
            self._show()
        else:
            show_screen(self.app, "home")
