"""Chat: prompts for a checkpoint, and what it generates. Works while the run is training."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer
from textual.worker import Worker, WorkerCancelled, WorkerFailed

from core.checkpoints import best_checkpoint, readable_checkpoints, step_of
from core.recipe.schema import Sample
from core.runs.directory import Run
from core.storage.artifact import Artifact
from llmtui.tui.actions import bindings
from llmtui.tui.run_chat import RunChat, Turn
from llmtui.tui.run_watcher import RunsUpdated
from llmtui.tui.screens.picker import Choice, Picker
from llmtui.tui.screens.run_screen import RunScreen, show_screen
from llmtui.tui.widgets.bars import FooterBar, HeaderBar
from llmtui.tui.widgets.number_input import NumberInputs
from llmtui.tui.widgets.prompt import PromptInput
from llmtui.tui.widgets.sampling_inputs import sampling_inputs, slider_values, with_slider_values
from llmtui.tui.widgets.transcript import Transcript
from llmtui.view import run_text, units
from llmtui.view.sanitize import shown

_REDRAWS = 8.0
"""Redraws per second while text is generated; half of it over SSH."""


_PROMPT_KEYS = (
    ("enter", "send"),
    ("alt+enter", "new line"),
    ("tab", "settings"),
    ("esc", "out"),
    ("^p", "commands"),
    ("f1", "help"),
)


class Chat(RunScreen):
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
        self._checkpoints: list[Artifact] = []
        self._chosen: dict[str, str] = {}
        """By run id, the checkpoint that the user chose; without one the newest replies."""
        self._listed: tuple[str, tuple[str, ...]] = ("", ())
        """Run id and names in its directory of checkpoints when `_checkpoints` was read."""
        self._shown = ""
        """Id of the run whose prompt and settings are on the screen."""
        self._drafts: dict[str, tuple[str, dict[str, float]]] = {}
        """By run id, prompt and settings of the other runs."""
        self._worker: Worker[None] | None = None
        """Generates `_pending_turn`."""
        self._pending_turn: Turn | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        with Container(id="body"):
            yield Transcript(id="transcript")
            yield NumberInputs(sampling_inputs(), id="sampling")
        yield PromptInput(id="prompt")
        yield from self.compose_footer()

    # -- run and checkpoint ----------------------------------------------------------------------------------------

    def entered(self) -> None:
        if self.is_mounted:  # the first time, the focus is set once the prompt is there
            self.query_one(PromptInput).focus()

    def on_screen_resume(self) -> None:
        self._refresh_checkpoints()
        self._draw()

    @on(RunsUpdated)
    def _on_runs_updated(self) -> None:
        if self.is_current:
            self._refresh_checkpoints()
            self._draw()

    def _refresh_checkpoints(self) -> None:
        """Read the list of checkpoints again if the run or its checkpoints changed."""
        snapshot = self.snapshot
        self._switch_run(snapshot.run if snapshot else None)
        if snapshot is None:
            self._checkpoints, self._listed = [], ("", ())
            return
        seen = snapshot.run.id, _names(snapshot.run.checkpoints)
        if seen != self._listed:
            self._listed = seen
            self._checkpoints = readable_checkpoints(snapshot.run.checkpoints)

    def _switch_run(self, run: Run | None) -> None:
        """Show prompt and settings of `run`, and save those of the run before."""
        if self._shown == (run.id if run else ""):
            return
        prompt, settings = self.query_one(PromptInput), self.query_one(NumberInputs)
        self._drafts[self._shown] = prompt.text, settings.values
        self._shown = run.id if run else ""
        sample = run.recipe.sample if run else Sample()
        defaults = {number.name: number.default for number in sampling_inputs()}
        defaults |= slider_values(sample.sampling())
        prompt.text, values = self._drafts.pop(self._shown, ("", defaults))
        prompt.move_cursor(prompt.document.end)
        for name, value in values.items():
            settings.set(name, value)

    @property
    def checkpoint(self) -> Artifact | None:
        """The checkpoint that replies: the chosen one while it exists, else the newest."""
        snapshot = self.snapshot
        if snapshot is None or not self._checkpoints:
            return None
        chosen = self._chosen.get(snapshot.run.id)
        return next((c for c in self._checkpoints if c.path.name == chosen), self._checkpoints[-1])

    @property
    def turns(self) -> list[Turn]:
        """The turns with this run, including those of earlier sessions."""
        chat = self._chat
        return [] if chat is None else chat.turns

    @property
    def _chat(self) -> RunChat | None:
        snapshot, checkpoint = self.snapshot, self.checkpoint
        if snapshot is None or checkpoint is None:
            return None
        if snapshot.run.id not in self._chats:
            self._chats[snapshot.run.id] = RunChat(self.session.inference_client, snapshot.run, checkpoint.path.name)
        return self._chats[snapshot.run.id]

    def _draw(self) -> None:
        snapshot, checkpoint = self.snapshot, self.checkpoint
        header = self.query_one(HeaderBar)
        header.left = [("chat", "title")]
        if snapshot:
            glyph, word, role = run_text.state(snapshot)
            header.left += [("  ", ""), (run_text.name(snapshot), "bold"), (f"  {glyph} {word}", role)]
        speed = self.turns[-1].tokens_per_second if self.turns else 0.0
        header.right = [(self._title_of(checkpoint), "accent")] if checkpoint else []
        header.right += [(f"  {units.rate(speed, 'tok')}", "dim")] if speed else []
        header.update()
        transcript = self.query_one(Transcript)
        transcript.title = [("transcript", "title")]
        transcript.hint = self._hint()
        transcript.show(self.turns)
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

    def _hint(self) -> str:
        if self.snapshot is None:
            return "There is no run yet: 1 shows the runs, n there starts one."
        if self.checkpoint is None and not self.snapshot.state.is_active:
            return f"This run has no checkpoint yet ({self.snapshot.state.value}): r in Train resumes it."
        if self.checkpoint is None:
            return "This run has no checkpoint yet. Training saves the first one soon; c in Train saves one at once."
        if self.snapshot.run.recipe.chat.templated:
            return "Say something and press enter. The recipe's [chat] templates make a conversation of it."
        training = ""
        if self.snapshot.state.is_active:
            training = " Training continues meanwhile, and is slower while text is generated."
        return (
            "Type the beginning of a text and press enter: the model continues it. It was trained on text alone,"
            f" so it continues rather than answers.{training}"
        )

    def _title_of(self, checkpoint: Artifact) -> str:
        step = step_of(checkpoint.path)
        best = checkpoint is best_checkpoint(self._checkpoints)
        newest = checkpoint is self._checkpoints[-1]
        marks = [mark for mark, holds in (("newest", newest), ("best", best)) if holds]
        return f"step {step:,}" + (f" ({', '.join(marks)})" if marks else "")

    # -- generating ---------------------------------------------------------------------------------------------------

    @on(PromptInput.Submitted)
    def _send(self, message: PromptInput.Submitted) -> None:
        if self.checkpoint is None:
            self.show_notice("This run has no checkpoint yet.", "warn")
        elif self._busy:
            self.show_notice(self._busy_notice, "warn")
        else:
            self.query_one(PromptInput).clear()
            self._generate(message.text)

    def _generate(self, prompt: str, *, retry: bool = False) -> None:
        snapshot, chat, checkpoint = self.snapshot, self._chat, self.checkpoint
        assert snapshot is not None and chat is not None and checkpoint is not None
        settings = self.query_one(NumberInputs)
        sampling = with_slider_values(snapshot.run.recipe.sample.sampling(), settings.values)
        newest = checkpoint is self._checkpoints[-1]
        reply = chat.send(checkpoint, prompt, sampling, newest=newest, retry=retry)
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

    async def on_unmount(self) -> None:
        if self._worker and self._worker.is_running:  # what was generated so far is saved
            self._worker.cancel()
            with suppress(WorkerCancelled, WorkerFailed):
                await self._worker.wait()
        for chat in self._chats.values():
            chat.close()

    def _draw_reply(self) -> None:
        if self._timer and not (self._pending_turn and self._pending_turn.pending):
            self._timer.stop()
            self._timer = None
        if self.is_mounted:
            self._draw()

    # -- actions --------------------------------------------------------------------------------------------------

    def is_available(self, action: str) -> bool:
        if action == "chat.stop":
            return self._busy
        if action in ("chat.retry", "chat.new"):
            return bool(self.turns) and not self._busy
        return True

    @property
    def _busy(self) -> bool:
        return self._worker is not None and self._worker.is_running

    @property
    def _shows_pending_turn(self) -> bool:
        """Whether the text being generated is of the run shown."""
        return self._busy and any(turn is self._pending_turn for turn in self.turns[-1:])

    @property
    def _busy_notice(self) -> str:
        where = "the one being written" if self._shows_pending_turn else "the one that another run is writing"
        return f"One text at a time: ctrl+x stops {where}."

    def action_next_pane(self) -> None:
        if isinstance(self.focused, PromptInput):
            self.query_one(
                NumberInputs
            ).focus()  # not the transcript, which follows in the focus chain: the settings belong to the prompt
        else:
            self.app.action_focus_next()

    def action_chat_write(self) -> None:
        self.query_one(PromptInput).focus()

    def action_chat_stop(self) -> None:
        if self._worker and self._busy:
            self._worker.cancel()

    def action_chat_retry(self) -> None:
        if self._busy:
            self.show_notice(self._busy_notice, "warn")
        elif not self.turns or self.checkpoint is None:
            self.show_notice("There is no prompt to repeat.", "warn")
        else:
            settings = self.query_one(NumberInputs)
            settings.set("seed", settings["seed"] + 1)
            self._generate(self.turns[-1].prompt, retry=True)

    def action_chat_new(self) -> None:
        chat, checkpoint = self._chat, self.checkpoint
        if chat is None or checkpoint is None:
            self.show_notice("This run has no checkpoint yet.", "warn")
        elif self._busy:
            self.show_notice(self._busy_notice, "warn")
        else:
            chat.start_new(checkpoint)
            self._draw()

    def action_chat_checkpoint(self) -> None:
        snapshot = self.snapshot
        if snapshot is None or not self._checkpoints:
            self.show_notice("This run has no checkpoint yet.", "warn")
            return
        choices = [Choice(c.path.name, self._title_of(c), _about(c)) for c in reversed(self._checkpoints)]

        def on_choice(name: str | None) -> None:
            if name is not None:
                self._chosen[snapshot.run.id] = name
                if name == self._checkpoints[-1].path.name:
                    del self._chosen[snapshot.run.id]  # follow the newest from now on
                self._draw()

        current = self.checkpoint.path.name if self.checkpoint else ""
        self.app.push_screen(Picker(f"Checkpoints of {shown(snapshot.run.name)}", choices, current=current), on_choice)

    def action_app_back(self) -> None:
        if self._worker and self._shows_pending_turn:
            self._worker.cancel()
        elif isinstance(self.focused, PromptInput):
            self.query_one(NumberInputs).focus()
        else:
            show_screen(self.app, "home")


def _names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in os.scandir(folder)))
    except OSError:
        return ()


def _about(checkpoint: Artifact) -> str:
    """The detail of a checkpoint in the picker: its loss and when it was saved."""
    bits = checkpoint.facts.get("bits_per_byte")
    bound = bool(checkpoint.facts.get("bound"))
    value = f"{units.cost(bits, bound=bound)} bpb, " if isinstance(bits, float) else ""
    return f"{value}saved {units.clock(checkpoint.manifest.made_at)}"
