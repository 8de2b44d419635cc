"""What the three screens have in common: one run that they are about, and the actions on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.screen import Screen

from core.errors import LlmtuiError
from core.runs import control
from core.runs.directory import State
from llmtui.tui.actions import Scope, in_scope
from llmtui.tui.widgets.bars import KeyLine, Notice
from llmtui.view import run_text
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown

if TYPE_CHECKING:
    from llmtui.tui.app import Workbench

_GOES_ON = (State.STOPPED, State.FAILED, State.INTERRUPTED, State.CREATED)


class WorkScreen(Screen[None]):
    """A screen about one run, with a key line."""

    SCOPE: ClassVar[Scope]

    @property
    def bench(self) -> Workbench:
        return cast("Workbench", self.app)

    @property
    def subject(self) -> RunSnapshot | None:
        """The run that actions are about."""
        return self.bench.selected

    def arrive(self) -> None:
        """The person came from another screen; not called when a dialog over this one closes."""

    def bottom(self) -> ComposeResult:
        """The key line of this screen, and what stands above it for a while."""
        yield KeyLine(in_scope(self.SCOPE), self.applicable, self.bench.keymap)
        yield Notice()

    def say(self, text: str, role: str = "") -> None:
        """A sentence about what was just done."""
        if self.is_mounted:
            self.query_one(Notice).say(shown(text), role)
        else:
            self.call_after_refresh(self.say, text, role)

    def action_copy_text(self) -> None:
        """Textual's, which says nothing."""
        super().action_copy_text()
        self.say("Copied.")

    def applicable(self, action: str) -> bool:
        """Whether the key line should offer `action` now."""
        glance = self.subject
        if action == "run.resume":
            return glance is not None and glance.state in _GOES_ON
        if action in ("run.pause", "run.stop"):
            return glance is not None and glance.state.alive
        if action in ("run.checkpoint", "run.sample"):
            return glance is not None and glance.state is State.RUNNING and glance.summary.stage == "train"
        if action == "home.open":
            return glance is not None
        return True

    # -- actions on the run ---------------------------------------------------------------------------------------

    def _living(self, verb: str) -> RunSnapshot | None:
        """The subject while it lives; otherwise says why `verb` cannot be done."""
        glance = self.subject
        if glance is None:
            self.say(f"There is no run to {verb}.", "warn")
        elif not glance.state.alive:
            self.say(f"{glance.run.name} is {run_text.state(glance)[1]}: nothing to {verb}.", "warn")
            return None
        return glance

    def ask(self, request: Callable[[], None], done: str) -> None:
        """Put a request into the run's control directory and say so."""
        try:
            request()
        except OSError as error:
            self.bench.show_error(LlmtuiError((error.strerror or str(error)).lower(), where=str(error.filename or "")))
        else:
            self.say(done)
            self.bench.follower.wake()

    def action_run_pause(self) -> None:
        glance = self._living("pause")
        if glance and glance.run.pause_requested:
            self.ask(lambda: control.ask_go_on(glance.run), f"{glance.run.name} goes on.")
        elif glance:
            self.ask(lambda: control.ask_pause(glance.run), f"{glance.run.name} pauses at its next step.")

    def action_run_checkpoint(self) -> None:
        glance = self._living("save")
        if glance:
            self.ask(lambda: control.ask_checkpoint(glance.run), "A checkpoint is saved at the next step.")

    def action_run_sample(self) -> None:
        glance = self._living("sample")
        if glance:
            self.ask(lambda: control.ask_sample(glance.run), "A sample is drawn at the next step.")

    def action_run_stop(self) -> None:
        glance = self._living("stop")
        if glance is None:
            return
        from llmtui.tui.screens.dialogs import Confirm

        def answered(yes: bool | None) -> None:
            if yes:
                self.ask(lambda: control.ask_stop(glance.run), f"{glance.run.name} saves a checkpoint and stops.")

        what = f"Stop {run_text.name(glance)}? It saves a checkpoint first and can be resumed later."
        self.app.push_screen(Confirm(what, yes="checkpoint, then stop", no="let it run"), answered)

    def action_run_resume(self) -> None:
        glance = self.subject
        if glance is None:
            self.say("There is no run to resume.", "warn")
        elif glance.state is State.PAUSED:
            self.action_run_pause()
        elif glance.state not in _GOES_ON:
            self.say(f"{glance.run.name} is {run_text.state(glance)[1]}: nothing to resume.", "warn")
        else:
            self.say(f"Starting {glance.run.name} …")
            self.bench.start(glance.run)

    def action_run_delete(self) -> None:
        glance = self.subject
        if glance is None:
            self.say("There is no run to delete.", "warn")
            return
        if glance.state.alive:
            self.say(f"{glance.run.name} is {run_text.state(glance)[1]}: stop it first.", "warn")
            return
        from llmtui.tui.screens.dialogs import Delete

        async def answered(yes: bool | None) -> None:
            if yes:
                try:
                    await asyncio.to_thread(glance.run.remove)
                except LlmtuiError as trouble:
                    self.bench.show_error(trouble)
                else:
                    self.bench.follower.wake()
                    self.bench.show("home")  # there is nothing left to show here
                    self.bench.say(f"{glance.run.name} is deleted.")

        self.app.push_screen(Delete(run_text.name(glance), glance.run.name), answered)

    def action_run_new(self) -> None:
        from llmtui.tui.screens.new_run import NewRun

        self.app.push_screen(NewRun(), self.bench.create)
