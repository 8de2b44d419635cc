"""Chat: prompts for a checkpoint, and what it generates. Works while the run is training."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import ClassVar

from msgspec import structs
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer
from textual.widgets import TextArea
from textual.worker import Worker, WorkerCancelled, WorkerFailed

from core.runs.chat_sessions import saved_prompts
from core.runs.directory import Run
from core.storage.artifact import Artifact
from llmtui.tui.actions import bindings
from llmtui.tui.run_chat import RunChat, is_masked
from llmtui.tui.run_watcher import RunsUpdated
from llmtui.tui.screens.chat_actions import NO_CHECKPOINT, ChatActions
from llmtui.tui.screens.chat_checkpoints import CheckpointChoice, compared_checkpoint
from llmtui.tui.screens.chat_drafts import ChatDrafts
from llmtui.tui.widgets.bars import FooterBar, HeaderBar
from llmtui.tui.widgets.prompt import PromptHistory, PromptInput
from llmtui.tui.widgets.sampler_pane import SamplerPane
from llmtui.tui.widgets.transcript import Transcript
from llmtui.view import run_text, sampler_settings, units
from llmtui.view.chat_hint import hint
from llmtui.view.chat_turn import Turn
from llmtui.view.sampler_settings import SamplerSettings

_REDRAWS = 8.0
"""Redraws per second while text is generated; half of it over SSH."""

_PROMPT_KEYS = (
    ("enter", "send"),
    ("alt+enter", "new line"),
    ("tab", "settings"),
    ("esc", "keys"),
    ("^g", "x-ray"),
    ("↑", "earlier"),
    ("pgup", "scroll"),
    ("^p", "commands"),
    ("f1", "help"),
)


class Chat(ChatActions):
    """Transcript above, settings and prompt below; settings at the side in wide terminals."""

    SCOPE = "chat"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("chat"), Binding("tab", "next_pane")]
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS: ClassVar[str] = "PromptInput"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (120, "-side")]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self._chats: dict[str, RunChat] = {}
        """By run id."""
        self._warned: set[tuple[str, str]] = set()
        """(run id, warning) that were shown already."""
        self.choice = CheckpointChoice()
        self.drafts = ChatDrafts()
        self._shown: Run | None = None
        """The run whose prompt and settings are on the screen."""
        self._worker: Worker[None] | None = None
        """Generates `_pending_turn`."""
        self._pending_turn: Turn | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        with Container(id="body"):
            yield Transcript(id="transcript")
            yield SamplerPane(id="sampling")
        yield PromptInput(id="prompt")
        yield from self.compose_footer()

    # -- run and checkpoint ----------------------------------------------------------------------------------------

    def entered(self) -> None:
        if self.is_mounted:  # the first time, the focus is set once the prompt is there
            self.query_one(PromptInput).focus()

    def on_screen_resume(self) -> None:
        self._refresh_run()
        self.redraw()
        if self.checkpoint is not None:  # a prompt will follow
            start = self.session.inference_client.start(self.checkpoint.path)
            self.run_worker(start, group="start", exit_on_error=True)

    @on(RunsUpdated)
    def _on_runs_updated(self) -> None:
        if self.is_current:
            self._refresh_run()
            self.redraw()

    def _refresh_run(self) -> None:
        run = self.snapshot.run if self.snapshot else None
        if (self._shown.id if self._shown else "") != (run.id if run else ""):
            self._switch_run(run)
        self.choice.refresh(run)

    def _switch_run(self, run: Run | None) -> None:
        """Show prompt and settings of `run`, and keep those of the run before."""
        self._keep_draft()
        self._shown = run
        prompt = self.query_one(PromptInput)
        prompt.history_of_prompts = PromptHistory()
        if run is None:
            prompt.replace_text("")
            return
        state = self.drafts.get(run)
        recipe = SamplerSettings(sampling=run.recipe.sample.sampling())
        settings = sampler_settings.with_differences(recipe, state.settings)
        self.query_one(SamplerPane).show_settings(settings, recipe, masked=is_masked(run))
        prompt.replace_text(state.draft)
        self.run_worker(self._read_history(run), group="history", exclusive=True)

    async def _read_history(self, run: Run) -> None:
        """Read the prompts of earlier sessions, which up recalls."""
        prompts = await asyncio.to_thread(saved_prompts, run.path)
        if self._shown is run:
            self.query_one(PromptInput).history_of_prompts = PromptHistory(prompts)

    @on(TextArea.Changed)
    @on(SamplerPane.Changed)
    def _keep_draft(self) -> None:
        """Keep prompt and settings of the run shown, and save them soon."""
        if self._shown is None:
            return
        sampler = self.query_one(SamplerPane)
        state = structs.replace(
            self.drafts.get(self._shown),
            draft=self.query_one(PromptInput).text,
            settings=sampler_settings.differences(sampler.settings, sampler.recipe),
        )
        if self.drafts.set(self._shown, state):
            self.save_drafts()

    @property
    def checkpoint(self) -> Artifact | None:
        """The checkpoint that replies: the chosen one while it exists, else the newest."""
        return self.choice.current(self.snapshot.run) if self.snapshot else None

    @property
    def exported_checkpoint(self) -> Artifact | None:
        return self.checkpoint

    @property
    def chat(self) -> RunChat | None:
        """The chat with the run, if it has a checkpoint, or had one: the turns stay when that is deleted."""
        snapshot, checkpoint = self.snapshot, self.checkpoint
        if snapshot is None:
            return None
        if snapshot.run.id not in self._chats and checkpoint is not None:
            self._chats[snapshot.run.id] = RunChat(self.session.inference_client, snapshot.run, checkpoint.path.name)
        return self._chats.get(snapshot.run.id)

    # -- drawing ------------------------------------------------------------------------------------------------------

    def redraw(self) -> None:
        snapshot, checkpoint, turns = self.snapshot, self.checkpoint, self.turns
        header = self.query_one(HeaderBar)
        header.left = [("chat", "title")]
        if snapshot:
            glyph, word, role = run_text.state(snapshot)
            header.left += [("  ", ""), (run_text.name(snapshot), "bold"), (f"  {glyph} {word}", role)]
        speed = turns[-1].tokens_per_second if turns else 0.0
        header.right = []
        if snapshot and checkpoint:
            where = self.choice.where(snapshot.run, checkpoint)
            header.right += [(self.choice.title(checkpoint) + where, "accent")]
        header.right += [(f"  beside {self.compared_name}", "bold")] if self.compared_name else []
        header.right += [(f"  {units.rate(speed, 'tok')}", "dim")] if speed else []
        header.update()
        transcript = self.query_one(Transcript)
        transcript.title = [("transcript", "title")]
        transcript.hint = hint(snapshot, has_checkpoint=checkpoint is not None)
        transcript.show(turns)
        self._draw_keys()

    def on_descendant_focus(self) -> None:
        self._draw_keys()

    def _draw_keys(self) -> None:
        """While the prompt has the focus letters are text, so the footer shows other keys."""
        line = self.query_one(FooterBar)
        line.override = list(_PROMPT_KEYS) if isinstance(self.focused, PromptInput) else []
        if line.override and any(turn.pending for turn in self.turns[-1:]):
            line.override = [
                ("esc", "stop"),
                *((key, what) for key, what in _PROMPT_KEYS if key not in ("enter", "esc")),
            ]
        line.update()

    # -- generating ---------------------------------------------------------------------------------------------------

    @on(PromptInput.Scrolled)
    def _scroll(self, message: PromptInput.Scrolled) -> None:
        self.query_one(Transcript).scroll_by(message.direction, page=message.page)

    @on(PromptInput.Submitted)
    def _send(self, message: PromptInput.Submitted) -> None:
        if self.checkpoint is None:
            self.show_notice(NO_CHECKPOINT, "warn")
        elif self.busy:
            self.show_notice(self.busy_notice, "warn")
        else:
            prompt = self.query_one(PromptInput)
            prompt.clear()
            prompt.history_of_prompts.add(message.text)
            self.generate(message.text)

    def generate(self, typed: str, *, branch: bool = False) -> None:
        """Send a prompt; see `RunChat.send`."""
        snapshot, chat, checkpoint = self.snapshot, self.chat, self.checkpoint
        assert snapshot is not None and chat is not None and checkpoint is not None
        state = self.drafts.get(snapshot.run)
        compared = None
        if state.comparing:
            runs = [other.run for other in self.session.watcher.snapshots]
            compared = compared_checkpoint(runs, state.compared_run, state.compared_checkpoint)
            if compared is None:
                self.show_notice("The checkpoint to compare with is gone: b chooses another one.", "warn")
        reply = chat.send(
            checkpoint,
            typed,
            self.query_one(SamplerPane).settings,
            newest=checkpoint is self.choice.checkpoints[-1],
            branch=branch or self.takes_edit(),
            compared=compared,
        )
        self._pending_turn = reply.turn
        if chat.checkpoint_note:
            self.show_notice(f"{checkpoint.path.name}: {chat.checkpoint_note}.")
        if chat.storage_warning and (snapshot.run.id, chat.storage_warning) not in self._warned:
            self._warned.add((snapshot.run.id, chat.storage_warning))
            self.show_notice(chat.storage_warning, "warn")
        self.query_one(Transcript).reset_scroll()
        self._worker = self.run_worker(reply.run(self._draw_reply), exit_on_error=False, group="reply")
        rate = _REDRAWS / 2 if self.session.over_ssh else _REDRAWS
        self._timer = self.set_interval(1 / rate, self._draw_reply)

    def _draw_reply(self) -> None:
        if self._timer and not (self._pending_turn and self._pending_turn.pending):
            self._timer.stop()
            self._timer = None
        if self.is_mounted:
            self.redraw()

    async def on_unmount(self) -> None:
        if self._worker and self._worker.is_running:  # what was generated so far is saved
            self._worker.cancel()
            with suppress(WorkerCancelled, WorkerFailed):
                await self._worker.wait()
        for chat in self._chats.values():
            chat.close()
        await self.drafts.save()

    @property
    def busy(self) -> bool:
        """Whether text is being generated, of this run or another one."""
        return self._worker is not None and self._worker.is_running

    @property
    def shows_pending_turn(self) -> bool:
        """Whether the text being generated is of the run shown."""
        return self.busy and any(turn is self._pending_turn for turn in self.turns[-1:])

    def stop(self) -> None:
        """Stop generating."""
        if self._worker and self.busy:
            self._worker.cancel()
