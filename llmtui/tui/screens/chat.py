"""Chat: prompts for a checkpoint, continued as they come. Works while the run trains on."""

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
from llmtui.tui.chat_view import Turn, Turns
from llmtui.tui.run_watcher import RunsUpdated
from llmtui.tui.screens.picker import Choice, Picker
from llmtui.tui.screens.run_screen import RunScreen, show_screen
from llmtui.tui.widgets.bars import FooterBar, HeaderBar
from llmtui.tui.widgets.number_input import Dials
from llmtui.tui.widgets.prompt import Prompt
from llmtui.tui.widgets.sampling import sampling_dials, slider_values, with_slider_values
from llmtui.tui.widgets.transcript import Transcript
from llmtui.view import run_text, units
from llmtui.view.sanitize import shown

_REDRAWS = 8.0
"""A second while text comes; half of it over slow lines."""


_WRITING = (
    ("enter", "send"),
    ("alt+enter", "new line"),
    ("tab", "settings"),
    ("esc", "out"),
    ("^p", "commands"),
    ("f1", "help"),
)


class Chat(RunScreen):
    """Transcript above, settings and prompt below (settings at the side where there is room)."""

    SCOPE = "chat"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("chat"), Binding("tab", "next_pane")]
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS: ClassVar[str] = "Prompt"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (120, "-side")]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self._turns: dict[str, Turns] = {}
        """By run, what was said to it."""
        self._warned: set[tuple[str, str]] = set()
        self._checkpoints: list[Artifact] = []
        self._chosen: dict[str, str] = {}
        """By run, the checkpoint picked by hand; without one the newest answers."""
        self._seen: tuple[str, tuple[str, ...]] = ("", ())
        self._shown = ""
        """The run whose prompt and settings are on the screen,"""
        self._drafts: dict[str, tuple[str, dict[str, float]]] = {}
        """and those of the others."""
        self._answer: Worker[None] | None = None
        self._asked: Turn | None = None
        """What it answers."""
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        with Container(id="body"):
            yield Transcript(id="transcript")
            yield Dials(sampling_dials(), id="dials")
        yield Prompt(id="prompt")
        yield from self.compose_footer()

    # -- what is talked to ----------------------------------------------------------------------------------------

    def entered(self) -> None:
        if self.is_mounted:  # the first time, the focus is set once the prompt is there
            self.query_one(Prompt).focus()

    def on_screen_resume(self) -> None:
        self._look()
        self._draw()

    @on(RunsUpdated)
    def _on_runs_updated(self) -> None:
        if self.is_current:
            self._look()
            self._draw()

    def _look(self) -> None:
        """Read the list of checkpoints again when the run or its newest checkpoint is another."""
        snapshot = self.snapshot
        self._turn_to(snapshot.run if snapshot else None)
        if snapshot is None:
            self._checkpoints, self._seen = [], ("", ())
            return
        seen = snapshot.run.id, _names(snapshot.run.checkpoints)
        if seen != self._seen:
            self._seen = seen
            self._checkpoints = readable_checkpoints(snapshot.run.checkpoints)

    def _turn_to(self, run: Run | None) -> None:
        """Put the run's own prompt and settings on the screen, and lay aside those of the one before."""
        if self._shown == (run.id if run else ""):
            return
        prompt, knobs = self.query_one(Prompt), self.query_one(Dials)
        self._drafts[self._shown] = prompt.text, knobs.values
        self._shown = run.id if run else ""
        sample = run.recipe.sample if run else Sample()
        fresh = {dial.name: dial.start for dial in sampling_dials()}
        fresh |= slider_values(sample.sampling())
        prompt.text, values = self._drafts.pop(self._shown, ("", fresh))
        prompt.move_cursor(prompt.document.end)
        for name, value in values.items():
            knobs.set(name, value)

    @property
    def checkpoint(self) -> Artifact | None:
        """The one that answers: the picked one while it exists, else the newest."""
        snapshot = self.snapshot
        if snapshot is None or not self._checkpoints:
            return None
        chosen = self._chosen.get(snapshot.run.id)
        return next((c for c in self._checkpoints if c.path.name == chosen), self._checkpoints[-1])

    @property
    def turns(self) -> list[Turn]:
        """The transcript with this run, what was said before this workbench was opened included."""
        said = self._said
        return [] if said is None else said.all

    @property
    def _said(self) -> Turns | None:
        snapshot, checkpoint = self.snapshot, self.checkpoint
        if snapshot is None or checkpoint is None:
            return None
        if snapshot.run.id not in self._turns:
            self._turns[snapshot.run.id] = Turns(self.session.inference_client, snapshot.run, checkpoint.path.name)
        return self._turns[snapshot.run.id]

    def _draw(self) -> None:
        snapshot, checkpoint = self.snapshot, self.checkpoint
        top = self.query_one(HeaderBar)
        top.left = [("chat", "title")]
        if snapshot:
            glyph, word, role = run_text.state(snapshot)
            top.left += [("  ", ""), (run_text.name(snapshot), "bold"), (f"  {glyph} {word}", role)]
        speed = self.turns[-1].tokens_per_second if self.turns else 0.0
        top.right = [(self._title_of(checkpoint), "accent")] if checkpoint else []
        top.right += [(f"  {units.rate(speed, 'tok')}", "dim")] if speed else []
        top.update()
        transcript = self.query_one(Transcript)
        transcript.title = [("transcript", "title")]
        transcript.hint = self._hint()
        transcript.show(self.turns)
        self._draw_keys()

    def on_descendant_focus(self) -> None:
        self._draw_keys()

    def _draw_keys(self) -> None:
        """In the prompt letters are text, so the key line tells of the other keys."""
        line = self.query_one(FooterBar)
        line.instead = list(_WRITING) if isinstance(self.focused, Prompt) else []
        if line.instead and any(turn.at_work for turn in self.turns[-1:]):
            line.instead = [("esc", "stop"), *(each for each in _WRITING if each[0] not in ("enter", "esc"))]
        line.update()

    def _hint(self) -> str:
        if self.snapshot is None:
            return "There is no run yet: 1 shows the runs, n there starts one."
        if self.checkpoint is None and not self.snapshot.state.is_active:
            return f"This run has no checkpoint yet ({self.snapshot.state.value}): r in Train goes on with it."
        if self.checkpoint is None:
            return "This run has no checkpoint yet. Training saves the first one soon; c in Train saves one at once."
        if self.snapshot.run.recipe.chat.templated:
            return "Say something and press enter. The recipe's [chat] templates make a conversation of it."
        training = (
            " Training goes on meanwhile, and is slower while text is drawn." if self.snapshot.state.is_active else ""
        )
        return (
            "Type the beginning of a text and press enter: the model goes on from there. It was trained on text alone,"
            f" so it continues rather than answers.{training}"
        )

    def _title_of(self, checkpoint: Artifact) -> str:
        step = step_of(checkpoint.path)
        best = checkpoint is best_checkpoint(self._checkpoints)
        newest = checkpoint is self._checkpoints[-1]
        marks = [mark for mark, holds in (("newest", newest), ("best", best)) if holds]
        return f"step {step:,}" + (f" ({', '.join(marks)})" if marks else "")

    # -- asking ---------------------------------------------------------------------------------------------------

    @on(Prompt.Sent)
    def _sent(self, message: Prompt.Sent) -> None:
        if self.checkpoint is None:
            self.show_notice("This run has no checkpoint yet.", "warn")
        elif self._at_work:
            self.show_notice(self._one_at_a_time, "warn")
        else:
            self.query_one(Prompt).clear()
            self._ask(message.text)

    def _ask(self, prompt: str, *, again: bool = False) -> None:
        snapshot, said, checkpoint = self.snapshot, self._said, self.checkpoint
        assert snapshot is not None and said is not None and checkpoint is not None
        knobs = self.query_one(Dials)
        sampling = with_slider_values(snapshot.run.recipe.sample.sampling(), knobs.values)
        newest = checkpoint is self._checkpoints[-1]
        asking = said.ask(checkpoint, prompt, sampling, newest=newest, again=again)
        self._asked = asking.turn
        if said.note:
            self.show_notice(f"{checkpoint.path.name}: {said.note}.")
        if said.warning and (snapshot.run.id, said.warning) not in self._warned:
            self._warned.add((snapshot.run.id, said.warning))
            self.show_notice(said.warning, "warn")
        self.query_one(Transcript).to_start()
        self._answer = self.run_worker(asking.write(self._draw_answer), exit_on_error=False, group="answer")
        rate = _REDRAWS / 2 if self.session.over_ssh else _REDRAWS
        self._timer = self.set_interval(1 / rate, self._draw_answer)

    async def on_unmount(self) -> None:
        if self._answer and self._answer.is_running:  # what is there of it is kept
            self._answer.cancel()
            with suppress(WorkerCancelled, WorkerFailed):
                await self._answer.wait()
        for said in self._turns.values():
            said.close()

    def _draw_answer(self) -> None:
        if self._timer and not (self._asked and self._asked.at_work):
            self._timer.stop()
            self._timer = None
        if self.is_mounted:
            self._draw()

    # -- actions --------------------------------------------------------------------------------------------------

    def is_available(self, action: str) -> bool:
        if action == "chat.stop":
            return self._at_work
        if action in ("chat.retry", "chat.new"):
            return bool(self.turns) and not self._at_work
        return True

    @property
    def _at_work(self) -> bool:
        return self._answer is not None and self._answer.is_running

    @property
    def _here(self) -> bool:
        """Whether what is being written is on the screen, and not said to another run."""
        return self._at_work and any(turn is self._asked for turn in self.turns[-1:])

    @property
    def _one_at_a_time(self) -> str:
        where = "the one being written" if self._here else "the one that another run is writing"
        return f"One text at a time: ctrl+x stops {where}."

    def action_next_pane(self) -> None:
        if isinstance(self.focused, Prompt):
            self.query_one(Dials).focus()  # not round to the transcript: the settings belong to the prompt
        else:
            self.app.action_focus_next()

    def action_chat_write(self) -> None:
        self.query_one(Prompt).focus()

    def action_chat_stop(self) -> None:
        if self._answer and self._at_work:
            self._answer.cancel()

    def action_chat_retry(self) -> None:
        if self._at_work:
            self.show_notice(self._one_at_a_time, "warn")
        elif not self.turns or self.checkpoint is None:
            self.show_notice("There is nothing to ask again.", "warn")
        else:
            knobs = self.query_one(Dials)
            knobs.set("seed", knobs["seed"] + 1)
            self._ask(self.turns[-1].prompt, again=True)

    def action_chat_new(self) -> None:
        said, checkpoint = self._said, self.checkpoint
        if said is None or checkpoint is None:
            self.show_notice("This run has no checkpoint yet.", "warn")
        elif self._at_work:
            self.show_notice(self._one_at_a_time, "warn")
        else:
            said.begin(checkpoint)
            self._draw()

    def action_chat_checkpoint(self) -> None:
        snapshot = self.snapshot
        if snapshot is None or not self._checkpoints:
            self.show_notice("This run has no checkpoint yet.", "warn")
            return
        choices = [Choice(c.path.name, self._title_of(c), _about(c)) for c in reversed(self._checkpoints)]

        def chosen(name: str | None) -> None:
            if name is not None:
                self._chosen[snapshot.run.id] = name
                if name == self._checkpoints[-1].path.name:
                    del self._chosen[snapshot.run.id]  # the newest, and whatever will be newer
                self._draw()

        current = self.checkpoint.path.name if self.checkpoint else ""
        self.app.push_screen(Picker(f"Checkpoints of {shown(snapshot.run.name)}", choices, current=current), chosen)

    def action_app_back(self) -> None:
        if self._answer and self._here:
            self._answer.cancel()
        elif isinstance(self.focused, Prompt):
            self.query_one(Dials).focus()
        else:
            show_screen(self.app, "home")


def _names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in os.scandir(folder)))
    except OSError:
        return ()


def _about(checkpoint: Artifact) -> str:
    """What the list of checkpoints says behind a step: how good it is, when it was saved."""
    bits = checkpoint.facts.get("bits_per_byte")
    bound = bool(checkpoint.facts.get("bound"))
    value = f"{units.cost(bits, bound=bound)} bpb, " if isinstance(bits, float) else ""
    return f"{value}saved {units.clock(checkpoint.manifest.made_at)}"
