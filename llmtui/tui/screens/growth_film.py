"""The growth film: what the model made of one prompt, step by step, in training or from the kept checkpoints."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from core.errors import LlmtuiError
from core.events import GeneratedSample
from llmtui.tui.screens.dialogs import Dialog
from llmtui.tui.widgets.pane import ScrollPane
from llmtui.view.lines import Line
from llmtui.view.sample_text import continuation
from llmtui.view.sanitize import shown

Generate = Callable[[GeneratedSample], AsyncGenerator[GeneratedSample, None]]
"""Yields a sample as each kept checkpoint continues it, oldest first; raises LlmtuiError."""


class SamplePane(ScrollPane):
    """One sample."""

    FRAMED: ClassVar[bool] = False
    HELP: ClassVar[str] = "A text that the model generated at this step, after its prompt."
    sample: GeneratedSample | None = None

    def content(self, width: int) -> list[Line]:
        return continuation(self.sample.prompt, self.sample.text, width) if self.sample else []


class GrowthFilm(Dialog[None]):
    """The samples of a run, prompt by prompt, from the first step on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,G", "close"),
        Binding("left", "turn(-1)"),
        Binding("right", "turn(1)"),
        Binding("home", "turn(-1000000)", priority=True),
        Binding("end", "turn(1000000)", priority=True),
        Binding("p", "prompt"),
        Binding("c", "checkpoints"),
    ]

    def __init__(
        self, samples: Sequence[GeneratedSample], templates: Sequence[GeneratedSample], generate: Generate
    ) -> None:
        """samples: of the training, oldest first. templates: for want of samples, those of the recipe's prompts without
        texts; at least one.
        """
        super().__init__()
        self._samples, self._generate = samples, generate
        self._templates = {sample.prompt: sample for sample in samples or templates}
        """The newest sample of each prompt: what its frames from checkpoints have in common."""
        self._prompts = list(dict.fromkeys(sample.prompt for sample in reversed(samples or templates)))
        self._prompt = 0
        self._frames: dict[str, list[GeneratedSample]] = {}
        """By prompt, what the checkpoints made of it, oldest first; grows."""
        self._of_checkpoints = not samples
        self._state = ""
        """Why there are no more frames of checkpoints yet."""
        self._index = len(self._reel) - 1

    @property
    def _reel(self) -> list[GeneratedSample]:
        """The samples of the present prompt."""
        prompt = self._prompts[self._prompt]
        if self._of_checkpoints:
            return self._frames.get(prompt, [])
        return [sample for sample in self._samples if sample.prompt == prompt]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -documents"):
            yield Static("", classes="title")
            yield SamplePane()
            more = " · p prompt" if len(self._prompts) > 1 else ""
            yield Static(f"← → step · home end{more} · c checkpoints/training · esc closes", classes="hint")

    def on_mount(self) -> None:
        self.query_one(SamplePane).focus()
        self._show_reel(0)

    def _show_reel(self, step: int) -> None:
        """Show the sample of the present reel whose step is nearest; generate the reel if it is of checkpoints."""
        prompt = self._prompts[self._prompt]
        if self._of_checkpoints and prompt not in self._frames:
            self._frames[prompt] = []
            self.run_worker(self._fill(prompt), exclusive=True, group="frames", exit_on_error=True)
        reel = self._reel
        self._index = min(range(len(reel)), key=lambda index: abs(reel[index].step - step)) if reel else -1
        self._show()

    async def _fill(self, prompt: str) -> None:
        frames = self._frames[prompt]
        self._state = "generating …"
        try:
            async with aclosing(self._generate(self._templates[prompt])) as stream:
                async for frame in stream:
                    frames.append(frame)
                    if self._reel is frames:
                        self._index = len(frames) - 1
                        self._show()
            self._state = "" if frames else "There is no checkpoint."
        except LlmtuiError as error:
            self._state = f"{error.what}. {error.todo}".rstrip()
        finally:
            if self._state == "generating …":  # cancelled by another prompt: begin anew when it is asked for again
                del self._frames[prompt]
        self._show()

    def _show(self) -> None:
        reel, pane = self._reel, self.query_one(SamplePane)
        sample = pane.sample = reel[self._index] if reel else None
        kind = "checkpoints" if self._of_checkpoints else "samples"
        parts = [f"step {sample.step:,} · {self._index + 1} of {len(reel)} {kind}"] if sample else []
        if len(self._prompts) > 1:
            parts.append(f"prompt {self._prompt + 1} of {len(self._prompts)}")
        if sample:
            parts.append(f"T {sample.temperature:g} · seed {sample.seed}")
        if self._of_checkpoints and self._state:
            parts.append(shown(self._state, 200))
        self.query_one(".title", Static).update(Content(" · ".join(parts)))
        pane.reset_scroll()
        pane.update()

    def action_turn(self, samples: int) -> None:
        self._index = max(0, min(len(self._reel) - 1, self._index + samples))
        self._show()

    @property
    def _step(self) -> int:
        return self._reel[self._index].step if self._reel else 0

    def action_prompt(self) -> None:
        """Turn to the next prompt, at the sample whose step is nearest."""
        step = self._step
        self._prompt = (self._prompt + 1) % len(self._prompts)
        self._show_reel(step)

    def action_checkpoints(self) -> None:
        """Turn to what the kept checkpoints make of the prompt, from one seed, or back to the samples of training."""
        step = self._step
        self._of_checkpoints = not self._of_checkpoints
        self._show_reel(step)

    def action_close(self) -> None:
        self.dismiss(None)
