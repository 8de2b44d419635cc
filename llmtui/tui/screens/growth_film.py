"""The growth film: what the model made of one prompt at each step where a sample was generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from core.events import GeneratedSample
from llmtui.tui.screens.dialogs import Dialog
from llmtui.tui.widgets.pane import ScrollPane
from llmtui.view.lines import Line
from llmtui.view.sample_text import continuation


class SamplePane(ScrollPane):
    """One sample."""

    FRAMED: ClassVar[bool] = False
    HELP: ClassVar[str] = "A text that the model generated at this step, after its prompt."
    sample: GeneratedSample | None = None

    def content(self, width: int) -> list[Line]:
        return continuation(self.sample.prompt, self.sample.text, width) if self.sample else []


class GrowthFilm(Dialog[None]):
    """The samples of a run, prompt by prompt, from the newest step back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,G", "close"),
        Binding("left", "turn(-1)"),
        Binding("right", "turn(1)"),
        Binding("home", "turn(-1000000)", priority=True),
        Binding("end", "turn(1000000)", priority=True),
        Binding("p", "prompt"),
    ]

    def __init__(self, samples: Sequence[GeneratedSample]) -> None:
        """samples: at least one, oldest first."""
        super().__init__()
        self._samples = samples
        self._prompts = list(dict.fromkeys(sample.prompt for sample in reversed(samples)))
        self._prompt = 0
        self._index = len(self._reel) - 1

    @property
    def _reel(self) -> list[GeneratedSample]:
        """The samples of the present prompt."""
        return [sample for sample in self._samples if sample.prompt == self._prompts[self._prompt]]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -documents"):
            yield Static("", classes="title")
            yield SamplePane()
            more = " · p another prompt" if len(self._prompts) > 1 else ""
            yield Static(f"← → step · home end · ↑ ↓ scroll{more} · esc closes", classes="hint")

    def on_mount(self) -> None:
        self.query_one(SamplePane).focus()
        self._show()

    def _show(self) -> None:
        reel, pane = self._reel, self.query_one(SamplePane)
        sample = pane.sample = reel[self._index]
        place = f"step {sample.step:,} · {self._index + 1} of {len(reel)} samples"
        if len(self._prompts) > 1:
            place += f" · prompt {self._prompt + 1} of {len(self._prompts)}"
        self.query_one(".title", Static).update(Content(f"{place} · T {sample.temperature:g} · seed {sample.seed}"))
        pane.reset_scroll()
        pane.update()

    def action_turn(self, samples: int) -> None:
        self._index = max(0, min(len(self._reel) - 1, self._index + samples))
        self._show()

    def action_prompt(self) -> None:
        """Turn to the next prompt, at the sample whose step is nearest."""
        step = self._reel[self._index].step
        self._prompt = (self._prompt + 1) % len(self._prompts)
        reel = self._reel
        self._index = min(range(len(reel)), key=lambda index: abs(reel[index].step - step))
        self._show()

    def action_close(self) -> None:
        self.dismiss(None)
