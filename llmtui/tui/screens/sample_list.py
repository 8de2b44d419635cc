"""All samples of a run as a list, with the text of the highlighted one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from core.events import GeneratedSample
from core.plural import plural
from llmtui.tui.screens.dialogs import Dialog
from llmtui.tui.screens.growth_film import SamplePane
from llmtui.tui.screens.workbench_screen import copy_text
from llmtui.tui.widgets.list_pane import ListPane
from llmtui.view.lines import Line, clip, cut
from llmtui.view.sanitize import shown


class NumberedSample(NamedTuple):
    """A sample and its place among those of the run."""

    number: int
    sample: GeneratedSample


class SampleRows(ListPane[NumberedSample]):
    """The samples, the newest first: step, prompt, start of the text."""

    FRAMED: ClassVar[bool] = False
    HELP: ClassVar[str] = "The texts that the model generated during training, the newest first."

    def key(self, item: NumberedSample) -> str:
        return str(item.number)

    def row(self, item: NumberedSample, cells: int) -> Line:
        sample = item.sample
        step = f"{sample.step:>8,}  "
        prompt = cut(" ".join(shown(sample.prompt, 200, lines=True).split()), cells // 3)
        text = " ".join(shown(sample.text, 500, lines=True).split())
        gap = " " * (sample.prompt[-1:].isspace() or sample.text[:1].isspace())
        return clip([(step, ""), (prompt, "dim"), (gap + text, "")], cells)


class SampleList(Dialog[None]):
    """Every sample of the training that the history keeps; one prompt alone with `p`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,A", "close"),
        Binding("p", "prompt"),
        Binding("y,ctrl+y", "copy"),
    ]

    def __init__(self, samples: Sequence[GeneratedSample]) -> None:
        """samples: oldest first, at least one."""
        super().__init__()
        self._all = [NumberedSample(*pair) for pair in enumerate(samples)][::-1]
        self._prompts = ["", *dict.fromkeys(item.sample.prompt for item in self._all)]
        """The prompts; the first stands for all of them."""
        self._prompt = 0

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -documents -samples"):
            yield Static("", classes="title")
            yield SampleRows()
            yield Static("", classes="about")
            yield SamplePane()
            prompts = "p one prompt · " if len(self._prompts) > 2 else ""
            yield Static(f"↑ ↓ sample · {prompts}tab to the text · y copy · esc closes", classes="hint")

    def on_mount(self) -> None:
        self.query_one(SampleRows).focus()
        self._show_list()

    def _show_list(self) -> None:
        prompt = self._prompts[self._prompt]
        items = [item for item in self._all if not self._prompt or item.sample.prompt == prompt]
        title = plural(len(items), "sample")
        if self._prompt:
            title += f" of prompt {self._prompt} of {len(self._prompts) - 1}"
        title += ", the newest first"
        self.query_one(".title", Static).update(Content(title))
        rows = self.query_one(SampleRows)
        rows.styles.height = len(items)
        rows.show_items(items)
        self._show_text()

    @on(SampleRows.Highlighted)
    def _show_text(self) -> None:
        item, pane = self.query_one(SampleRows).highlighted, self.query_one(SamplePane)
        pane.sample = item and item.sample
        about = ""
        if item:
            about = f"step {item.sample.step:,} · T {item.sample.temperature:g} · seed {item.sample.seed}"
        self.query_one(".about", Static).update(Content(about))
        pane.reset_scroll()
        pane.update()

    def action_prompt(self) -> None:
        if len(self._prompts) > 2:
            self._prompt = (self._prompt + 1) % len(self._prompts)
            self._show_list()

    def action_copy(self) -> None:
        item = self.query_one(SampleRows).highlighted
        if item:
            copy_text(self.app, item.sample.prompt + item.sample.text, "the sample", self._say)

    def _say(self, text: str) -> None:
        if self.is_mounted:
            self.query_one(".about", Static).update(Content(shown(text)))

    def action_close(self) -> None:
        self.dismiss(None)
