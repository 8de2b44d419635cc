"""The actions of the Chat screen, of which `llmtui.tui.screens.chat` draws the rest."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from msgspec import structs

from core.checkpoints import step_of
from core.errors import LlmtuiError
from core.plural import plural
from core.run_names import name_of_run
from core.runs.chat_sessions import SavedSession, saved_sessions
from core.storage.artifact import Artifact
from llmtui.tui.run_chat import RunChat
from llmtui.tui.screens.chat_checkpoints import CheckpointChoice, compared_choices
from llmtui.tui.screens.chat_drafts import ChatDrafts
from llmtui.tui.screens.picker import Choice, Picker
from llmtui.tui.screens.run_screen import RunScreen
from llmtui.tui.screens.workbench_screen import copy_text, show_error, show_screen
from llmtui.tui.widgets.prompt import PromptInput
from llmtui.tui.widgets.sampler_pane import SamplerPane
from llmtui.tui.widgets.transcript import Transcript
from llmtui.view import units
from llmtui.view.chat_turn import Turn, to_markdown
from llmtui.view.sampler_settings import stepped
from llmtui.view.sanitize import shown

NO_CHECKPOINT = "This run has no checkpoint, which would answer."


class SaveTranscriptError(LlmtuiError):
    """The file cannot be written."""

    doing = "save the transcript"


class ChatActions(RunScreen):
    """What the keys of the Chat screen do."""

    choice: CheckpointChoice
    drafts: ChatDrafts
    _edited: Turn | None = None
    """The turn whose prompt is being edited."""

    # -- of the screen ------------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Artifact | None:
        raise NotImplementedError

    @property
    def chat(self) -> RunChat | None:
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        raise NotImplementedError

    @property
    def shows_pending_turn(self) -> bool:
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw header, transcript and keys again."""
        raise NotImplementedError

    def save_drafts(self) -> None:
        """Save what changed in `drafts`, a moment later."""
        self.run_worker(self.drafts.save_soon(), group="drafts", exclusive=True)

    def generate(self, typed: str, *, branch: bool = False) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    # -- state --------------------------------------------------------------------------------------------------------

    @property
    def turns(self) -> list[Turn]:
        """The turns with this run, including those of earlier sessions."""
        chat = self.chat
        return [] if chat is None else chat.turns

    @property
    def busy_notice(self) -> str:
        where = "the one being written" if self.shows_pending_turn else "the one that another run is writing"
        return f"One text at a time: ctrl+x stops {where}."

    @property
    def compared_name(self) -> str:
        """The checkpoint that answers beside the chosen one, sanitised; empty if none does."""
        state = self.drafts.get(self.snapshot.run) if self.snapshot else None
        if self.snapshot is None or state is None or not state.comparing:
            return ""
        run = "" if state.compared_run == self.snapshot.run.id else f"{shown(name_of_run(state.compared_run), 32)} "
        return run + (f"step {step_of(Path(state.compared_checkpoint)):,}" if state.compared_checkpoint else "newest")

    def is_available(self, action: str) -> bool:
        if action == "chat.stop":
            return self.busy
        if action in ("chat.retry", "chat.edit", "chat.new", "chat.xray"):
            return bool(self.turns) and not self.busy
        if action in ("chat.copy", "chat.save", "chat.earlier", "chat.later"):
            return bool(self.turns)
        return super().is_available(action)

    def _idle_chat(self, *, with_turns: bool = False) -> RunChat | None:
        """The chat, if it can be changed now; otherwise a notice says why not."""
        chat = self.chat
        if chat is None:
            self.show_notice(NO_CHECKPOINT, "warn")
        elif self.busy:
            self.show_notice(self.busy_notice, "warn")
        elif with_turns and not chat.turns:
            self.show_notice("There is no prompt yet.", "warn")
        else:
            return chat
        return None

    # -- moving -------------------------------------------------------------------------------------------------------

    def action_next_pane(self) -> None:
        if isinstance(self.focused, PromptInput):
            self.query_one(SamplerPane).focus()  # not the transcript, which follows in the focus chain
        else:
            self.app.action_focus_next()

    def action_chat_write(self) -> None:
        self.query_one(PromptInput).focus()

    def action_chat_earlier(self) -> None:
        self.query_one(Transcript).choose(-1)

    def action_chat_later(self) -> None:
        self.query_one(Transcript).choose(1)

    def action_app_back(self) -> None:
        if self.shows_pending_turn:
            self.stop()
        elif isinstance(self.focused, PromptInput):
            self.query_one(Transcript).focus()
        elif isinstance(self.focused, SamplerPane):
            self.query_one(PromptInput).focus()
        else:
            show_screen(self.app, "home")

    # -- generating ---------------------------------------------------------------------------------------------------

    def action_chat_stop(self) -> None:
        self.stop()

    def action_chat_retry(self) -> None:
        chat = self._idle_chat(with_turns=True)
        if chat is not None and self.checkpoint is None:
            self.show_notice(NO_CHECKPOINT, "warn")
        elif chat is not None:
            sampler = self.query_one(SamplerPane)
            sampler.change(stepped(sampler.settings, "seed", 1))
            self.generate(chat.turns[-1].typed, branch=True)

    def action_chat_edit(self) -> None:
        chat = self._idle_chat(with_turns=True)
        if chat is not None:
            self._edited = chat.turns[-1]
            prompt = self.query_one(PromptInput)
            prompt.replace_text(self._edited.typed)
            prompt.focus()
            if chat.is_conversation:
                self.show_notice("Sent, it takes the place of the last prompt; o lists the conversation as it was.")

    def takes_edit(self) -> bool:
        """Whether the prompt being sent is an edited one: it takes the place of the last turn in a conversation."""
        chat, edited = self.chat, self._edited
        self._edited = None
        if chat is None or edited is None or not chat.turns or chat.turns[-1] is not edited:
            return False
        return chat.is_conversation

    def action_chat_new(self) -> None:
        chat = self._idle_chat()
        if chat is not None:
            chat.start_new()
            self.redraw()

    def action_chat_reset(self) -> None:
        self.query_one(SamplerPane).reset_all()
        self.show_notice("The sampler's settings are those of the recipe.")

    # -- showing ------------------------------------------------------------------------------------------------------

    def action_chat_surprise(self) -> None:
        transcript = self.query_one(Transcript)
        transcript.shades = not transcript.shades
        self.redraw()
        if transcript.shades and self.turns and not any(turn.surprise for turn in self.turns):
            self.show_notice("No surprise is recorded of these texts; it is of those generated from now on.")

    # -- choosing -----------------------------------------------------------------------------------------------------

    def action_chat_checkpoint(self) -> None:
        snapshot = self.snapshot
        if snapshot is None or self.checkpoint is None:
            self.show_notice(NO_CHECKPOINT, "warn")
            return
        run = snapshot.run

        def on_choice(name: str | None) -> None:
            if name is not None:
                self.choice.choose(run, name)
                self.redraw()

        picker = Picker(
            f"Checkpoints of {shown(run.name)}",
            self.choice.choices(run),
            current=self.choice.value(run),
            refreshed=lambda: self.choice.choices(run),
        )
        self.app.push_screen(picker, on_choice)

    async def action_chat_compare(self) -> None:
        snapshot = self.snapshot
        if snapshot is None or self.checkpoint is None:
            self.show_notice(NO_CHECKPOINT, "warn")
            return
        run, state = snapshot.run, self.drafts.get(snapshot.run)
        if state.comparing:
            self.drafts.set(run, structs.replace(state, comparing=False))
            self.show_notice("One checkpoint answers from now on.")
            self.redraw()
            self.save_drafts()
            return
        runs = [other.run for other in self.session.watcher.snapshots]
        choices = await asyncio.to_thread(compared_choices, runs, run)

        def on_choice(value: str | None) -> None:
            if value is not None:
                run_id, _, name = value.rpartition("/")
                changed = structs.replace(
                    self.drafts.get(run), comparing=True, compared_run=run_id, compared_checkpoint=name
                )
                self.drafts.set(run, changed)
                self.save_drafts()
                self.redraw()
                self.show_notice(f"{self.compared_name} answers beside it, from the same seed; b ends that.")

        current = f"{state.compared_run}/{state.compared_checkpoint}"
        self.app.push_screen(Picker("Which checkpoint answers beside it?", choices, current=current), on_choice)

    async def action_chat_sessions(self) -> None:
        chat, snapshot = self._idle_chat(), self.snapshot
        if chat is None or snapshot is None:
            return
        sessions = {session.id: session for session in await asyncio.to_thread(saved_sessions, snapshot.run.path)}
        if not sessions:
            self.show_notice("There is no earlier conversation with this run.")
            return

        def on_choice(value: str | None) -> None:
            if value is not None:
                chat.open(sessions[value])
                self.redraw()
                self.query_one(PromptInput).focus()

        choices = [_session_choice(session) for session in sessions.values()]
        self.app.push_screen(Picker(f"Conversations with {shown(snapshot.run.name)}", choices), on_choice)

    # -- copying and saving -------------------------------------------------------------------------------------------

    def action_chat_copy(self) -> None:
        turn = self.query_one(Transcript).chosen
        if turn is None:
            self.show_notice("There is no text to copy yet.", "warn")
            return
        what = f"{plural(len(turn.text), 'character')} of the text after {shown(turn.prompt, 40)!r}"
        copy_text(self.app, turn.text, what)

    def action_chat_xray(self) -> None:
        chat, turn = self._idle_chat(with_turns=True), self.query_one(Transcript).chosen
        if chat is None or turn is None:
            return
        compared = turn.compared
        if compared is None or not compared.text:
            self._open_xray(chat, turn)
            return
        choices = [Choice(letter, f"{letter}  {each.settings}") for letter, each in (("A", turn), ("B", compared))]

        def on_choice(letter: str | None) -> None:
            if letter is not None:
                self._open_xray(chat, turn if letter == "A" else compared)

        self.app.push_screen(Picker("X-ray of which reply?", choices), on_choice)

    def _open_xray(self, chat: RunChat, turn: Turn) -> None:
        request = chat.request_of(turn)
        if request is None or not turn.text:
            self.show_notice("How this text was generated is not known any more: ask the prompt again.", "warn")
            return
        from llmtui.tui.screens.xray import open_xray

        open_xray(self.app, self, request, turn.text)

    async def action_chat_save(self) -> None:
        snapshot = self.snapshot
        if snapshot is None or not self.turns:
            self.show_notice("There is nothing to save yet.", "warn")
            return
        file = Path.cwd() / f"chat-{snapshot.run.id}-{time.strftime('%Y%m%d-%H%M%S')}.md"
        text = to_markdown(self.turns, snapshot.run.name)
        try:
            await asyncio.to_thread(_write_new, file, text)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            todo = "start llmtui in a directory where files can be written"
            show_error(self.app, SaveTranscriptError(reason, where=str(file), todo=todo))
        else:
            self.show_notice(f"Saved as {file}.")


def _write_new(file: Path, text: str) -> None:
    with file.open("x", encoding="utf-8", errors="replace") as out:
        out.write(text)


def _session_choice(session: SavedSession) -> Choice:
    prompts = session.prompts
    first = shown(" ".join(prompts[0].split()), 80) or "(empty prompt)"
    step = f"step {step_of(Path(session.checkpoint)):,}, " if session.checkpoint else ""
    detail = f"{plural(len(prompts), 'prompt')}, {step}{units.clock(session.at)}"
    return Choice(session.id, first, detail, " ".join(prompts))
