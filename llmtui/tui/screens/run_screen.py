"""What the screens about a run have in common: the actions on it, and creating runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from textual.app import App

from core.checkpoints import step_of
from core.errors import LlmtuiError
from core.recipe.schema import Recipe
from core.runs import control
from core.runs.directory import Run, RunState
from core.runs.queue import NotQueuedError, request_start
from core.storage.artifact import Artifact
from llmtui.tui.screens.workbench_screen import WorkbenchScreen, show_error, show_log, show_notice, show_screen
from llmtui.tui.session import SessionApp
from llmtui.view import run_text
from llmtui.view.run_snapshot import RunSnapshot

if TYPE_CHECKING:
    from llmtui.tui.recipe_form import RecipeForm

_ABOUT_A_RUN = (
    "home.open", "run.like", "run.study", "run.branch", "run.film", "run.delete", "run.tag", "run.note", "run.log",
    "run.export", "run.archive",
)  # fmt: skip
"""Actions on a run in any state."""

_RESUMABLE = (RunState.STOPPED, RunState.FAILED, RunState.INTERRUPTED, RunState.CREATED)


def after_consent(app: App[Any], recipe: Recipe, then: Callable[[], None], yes: str = "accept and start") -> None:
    """Call `then`; if the corpus of `recipe` has a notice, once the user has accepted it, which is asked once.

    yes: the answer that accepts it.
    """
    notice = cast(SessionApp, app).session.required_notice(recipe)
    if notice is None:
        then()
        return
    from llmtui.tui.screens.dialogs import Confirm

    def on_answer(accepted: bool | None) -> None:
        if accepted:
            try:
                notice.accept()
            except LlmtuiError as error:
                show_error(app, error)
            else:
                then()

    app.push_screen(Confirm(notice.text, yes=yes, no="leave it"), on_answer)


class RunScreen(WorkbenchScreen):
    """A screen about one run, with the actions on it."""

    def is_available(self, action: str) -> bool:
        snapshot = self.snapshot
        if action == "run.resume":
            return snapshot is not None and snapshot.state in _RESUMABLE
        if action in ("run.earlier", "run.later", "run.start"):
            return snapshot is not None and snapshot.state is RunState.QUEUED
        if action == "run.pause":
            return snapshot is not None and snapshot.state.is_active and snapshot.state is not RunState.QUEUED
        if action == "run.stop":
            return snapshot is not None and snapshot.state.is_active
        if action in ("run.checkpoint", "run.sample", "run.rate"):
            return snapshot is not None and snapshot.state is RunState.RUNNING and snapshot.summary.stage == "train"
        if action == "run.branch":
            return snapshot is not None and snapshot.summary.saved is not None
        if action == "run.adjust":
            return snapshot is not None and not snapshot.state.is_active and not snapshot.run.host
        if action == "run.fetch":
            return snapshot is not None and bool(snapshot.run.host)
        if action in _ABOUT_A_RUN:
            return snapshot is not None
        return super().is_available(action)

    # -- creating and starting runs -------------------------------------------------------------------------------

    def create_run(self, recipe: Recipe | None, draft: str = "") -> None:
        """Create a run of `recipe`, start it and show it. Does nothing for None.

        If its corpus has a notice, the user has to accept it first, once. draft: key of the form that it comes from,
        which is no longer kept once the run exists.
        """
        if recipe is None:
            return
        after_consent(self.app, recipe, lambda: self._create(recipe, draft))

    def _create(self, recipe: Recipe, draft: str) -> None:
        try:
            run = self.session.create(recipe)
        except LlmtuiError as error:
            show_error(self.app, error)
            return
        self.session.drafts.pop(draft, None)
        self.start_run(run)
        show_screen(self.app, "train")

    def start_run(self, run: Run) -> None:
        """Start or resume `run`, which becomes the selected one."""
        self.session.select(run)

        async def start() -> None:
            try:
                await self.session.start(run)
            except LlmtuiError as error:
                show_error(self.app, error, run)

        self.app.run_worker(start(), exit_on_error=True)

    def action_run_new(self) -> None:
        self.show_form(self.session.draft("new"))

    def action_run_like(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            self.show_notice("There is no run to start another one like it.", "warn")
        else:
            self.show_form(self.session.draft("like", snapshot.run))

    def show_form(self, form: RecipeForm, notice: str = "") -> None:
        """Show the form, at first with `notice`; the run that it starts is created and shown."""
        from llmtui.tui.screens.new_run import NewRun

        self.app.push_screen(NewRun(form, notice), lambda recipe: self.create_run(recipe, form.draft_key))

    def action_run_adjust(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            self.show_notice("There is no run to resume.", "warn")
            return
        if snapshot.run.host:
            self.show_notice(f"The settings of {snapshot.run.name} can be changed on {snapshot.run.host} only.", "warn")
            return
        if snapshot.state.is_active:
            what = f"{snapshot.run.name} is {run_text.state(snapshot)[1]}: stop it first, then change its settings."
            self.show_notice(what, "warn")
            return
        from llmtui.tui.screens.new_run import NewRun

        form = self.session.draft("resume", snapshot.run)

        def on_changed(recipe: Recipe | None) -> None:
            if recipe is not None:
                self.session.drafts.pop(form.draft_key, None)
                self.start_run(snapshot.run)
                show_screen(self.app, "train")

        self.app.push_screen(NewRun(form), on_changed)

    def action_run_demo(self) -> None:
        from core.recipe.file import load

        self.create_run(load(preset="demo"))

    # -- actions on the run ---------------------------------------------------------------------------------------

    def active_run(self, verb: str) -> RunSnapshot | None:
        """The run if its processes live; otherwise a notice says why `verb` cannot be done."""
        snapshot = self.snapshot
        if snapshot is None:
            self.show_notice(f"There is no run to {verb}.", "warn")
        elif not snapshot.state.is_active:
            self.show_notice(f"{snapshot.run.name} is {run_text.state(snapshot)[1]}: nothing to {verb}.", "warn")
            return None
        return snapshot

    def send_request(self, request: Callable[[], None], notice: str) -> None:
        """Write a request into the run's control directory, then show `notice`."""
        try:
            request()
        except NotQueuedError as error:
            self.show_notice(error.what, "warn")
        except OSError as error:
            message = (error.strerror or str(error)).lower()
            show_error(self.app, LlmtuiError(message, where=str(error.filename or "")))
        else:
            self.show_notice(notice)
            self.session.watcher.wake()

    def action_run_pause(self) -> None:
        snapshot = self.active_run("pause")
        if snapshot and snapshot.run.pause_requested:
            self.send_request(lambda: control.request_unpause(snapshot.run), f"{snapshot.run.name} continues.")
        elif snapshot:
            self.send_request(
                lambda: control.request_pause(snapshot.run), f"{snapshot.run.name} pauses at its next step."
            )

    def action_run_start(self) -> None:
        snapshot = self.active_run("start")
        if snapshot:
            self.send_request(lambda: request_start(snapshot.run), f"{snapshot.run.name} starts now.")

    def action_run_checkpoint(self) -> None:
        snapshot = self.active_run("save")
        if snapshot:
            self.send_request(
                lambda: control.request_checkpoint(snapshot.run), "A checkpoint is saved at the next step."
            )

    def action_run_sample(self) -> None:
        snapshot = self.active_run("sample")
        if snapshot:
            self.send_request(lambda: control.request_sample(snapshot.run), "A sample is generated at the next step.")

    def action_run_stop(self) -> None:
        snapshot = self.active_run("stop")
        if snapshot is None:
            return
        from llmtui.tui.screens.dialogs import Confirm

        def on_answer(yes: bool | None) -> None:
            if yes:
                queued = snapshot.state is RunState.QUEUED
                notice = f"{snapshot.run.name} {'waits no longer' if queued else 'saves a checkpoint and stops'}."
                self.send_request(lambda: control.request_stop(snapshot.run), notice)

        question = f"Stop {run_text.name(snapshot)}? It saves a checkpoint first and can be resumed later."
        answers = {"yes": "checkpoint, then stop", "no": "let it run"}
        if snapshot.state is RunState.QUEUED:
            question = f"Take {run_text.name(snapshot)} out of the queue? It can be resumed later."
            answers = {"yes": "take it out", "no": "let it wait"}
        self.app.push_screen(Confirm(question, **answers), on_answer)

    def action_run_resume(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            self.show_notice("There is no run to resume.", "warn")
        elif snapshot.state is RunState.PAUSED:
            self.action_run_pause()
        elif snapshot.state not in _RESUMABLE:
            self.show_notice(f"{snapshot.run.name} is {run_text.state(snapshot)[1]}: nothing to resume.", "warn")
        else:
            self.show_notice(f"Starting {snapshot.run.name} …")
            self.start_run(snapshot.run)

    def action_run_fetch(self) -> None:
        snapshot = self.snapshot
        if snapshot is None or not snapshot.run.host:
            self.show_notice("Only checkpoints of runs of other machines have to be fetched.", "warn")
            return
        run = snapshot.run

        async def fetch() -> None:
            try:
                checkpoint = await asyncio.to_thread(control.fetched_checkpoint, run, "last")
            except LlmtuiError as error:
                show_error(self.app, error, run)
            else:
                show_notice(self.app, f"Step {step_of(checkpoint):,} of {run.name} is here: the chat can use it.")

        self.show_notice(f"Fetching the newest checkpoint from {run.host} …")
        self.app.run_worker(fetch(), exit_on_error=True)

    @property
    def exported_checkpoint(self) -> Artifact | None:
        """The checkpoint that this screen is about; None: the user chooses one."""
        return None

    def action_run_export(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            self.show_notice("There is no run to export.", "warn")
            return
        from llmtui.tui.screens.model_export import ask_and_export

        # of the application: it continues while other screens are shown
        self.app.run_worker(ask_and_export(self.app, snapshot.run, self.exported_checkpoint), group="export")

    def action_run_log(self) -> None:
        show_log(self.app)

    def action_run_delete(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            self.show_notice("There is no run to delete.", "warn")
            return
        if snapshot.state.is_active:
            self.show_notice(f"{snapshot.run.name} is {run_text.state(snapshot)[1]}: stop it first.", "warn")
            return
        from llmtui.tui.screens.dialogs import ConfirmDelete

        async def on_answer(yes: bool | None) -> None:
            if yes:
                try:
                    await asyncio.to_thread(snapshot.run.remove)
                except LlmtuiError as error:
                    show_error(self.app, error)
                else:
                    self.session.watcher.wake()
                    show_screen(self.app, "home")
                    show_notice(self.app, f"{snapshot.run.name} is deleted.")

        self.app.push_screen(ConfirmDelete(run_text.name(snapshot), snapshot.run.name), on_answer)
