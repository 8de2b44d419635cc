"""Dialogs of the new-run form: the first documents of a source, the equivalent command."""

from __future__ import annotations

import asyncio
import tempfile
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from core.errors import LlmtuiError
from core.events import AnyEvent, Excerpt, Note, Progress
from core.recipe.schema import Recipe
from core.storage.workspace import Workspace
from llmtui.clients.child_job import stream_child_job
from llmtui.tui.screens.dialogs import Dialog
from llmtui.tui.widgets.pane import ScrollPane
from llmtui.view.lines import Line, hanging, wrap
from llmtui.view.preview_text import excerpt_lines
from llmtui.view.sanitize import shown
from llmtui.view.units import amount

DOCUMENTS, READ_BYTES = 5, 2_000_000
"""How many documents are shown, of the first so many bytes of text."""


class DocumentsPane(ScrollPane):
    """Documents before and after cleaning, or what the reading is doing."""

    HELP: ClassVar[str] = "The first documents of the source, before and after the cleaning steps of the recipe."
    FRAMED: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.excerpts: list[Excerpt] = []
        self.notes: list[tuple[str, str]] = []
        self.status = "reading …"

    def content(self, width: int) -> list[Line]:
        lines: list[Line] = [[(part, "dim")] for part in wrap(self.status, width)] if self.status else []
        for text, role in self.notes:
            lines += hanging([(shown(text, 600), role)], ("", ""), width)
        for number, excerpt in enumerate(self.excerpts, 1):
            lines += [*([[]] if lines else []), *excerpt_lines(excerpt, number, width)]
        return lines


class DocumentsDialog(Dialog[None]):
    """The first documents of a source, read and cleaned by a child process that ends with the dialog."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,p", "close")]

    def __init__(self, workspace: Workspace, recipe: Recipe) -> None:
        super().__init__()
        self._workspace, self._recipe = workspace, recipe

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -documents"):
            yield Static(Content(f"first documents of {shown(self._recipe.source.corpus, 200)}"), classes="title")
            yield DocumentsPane()
            yield Static("↑ ↓ pgup pgdn move · esc closes this, and ends the reading", classes="hint")

    def on_mount(self) -> None:
        self.query_one(DocumentsPane).focus()
        self.run_worker(self._read(), exit_on_error=True)

    async def _read(self) -> None:
        pane = self.query_one(DocumentsPane)
        try:
            directory = await asyncio.to_thread(
                tempfile.TemporaryDirectory, prefix="preview-", dir=self._workspace.cache
            )
            try:
                await self._show_events(directory.name, pane)
            finally:
                await asyncio.to_thread(directory.cleanup)
        except (LlmtuiError, OSError) as error:
            problem = error if isinstance(error, LlmtuiError) else LlmtuiError(str(error))
            pane.notes += [
                (f"Cannot {problem.doing}: {problem.what}", "bad"),
                (problem.where, "dim"),
                (problem.todo, ""),
            ]
        else:
            pane.notes += [] if pane.excerpts else [("There is no document in what was read.", "warn")]
        pane.status = ""
        pane.update()

    async def _show_events(self, directory: str, pane: DocumentsPane) -> None:
        task = ("preview", msgspec.json.encode(self._recipe).decode(), directory, str(DOCUMENTS), str(READ_BYTES))
        async for event in stream_child_job(self._workspace, "core.jobs.data_commands", *task, result_type=AnyEvent):
            match event:
                case Excerpt():
                    pane.excerpts.append(event)
                case Note(level="warning" | "error"):
                    pane.notes.append((event.text, "warn"))
                case Progress(done=done, unit=unit):
                    pane.status = f"reading … {amount(done, unit)}"
            pane.update()

    def action_close(self) -> None:
        self.dismiss(None)


class CommandDialog(Dialog[None]):
    """A command line, which is being copied."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,y", "close")]

    def __init__(self, command: str) -> None:
        super().__init__()
        self._command = command

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("The same as a command", classes="title")
            yield Static(Content(shown(self._command, 20_000)))
            yield Static("", classes="detail")
            yield Static("esc closes this", classes="hint")

    def say(self, text: str) -> None:
        """Show where the command has been copied to."""
        if self.is_mounted:
            self.query_one(".detail", Static).update(Content(shown(text)))

    def action_close(self) -> None:
        self.dismiss(None)
