"""Dialogs for the tags of a run, and for notes on it and on its steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from core.errors import LlmtuiError
from core.runs.annotations import AnnotationError, Annotations, checked_tag, with_note
from llmtui.tui.screens.dialogs import Dialog
from llmtui.tui.widgets.prompt import PromptInput
from llmtui.view.sanitize import shown


class AnnotationDialog(Dialog[None]):
    """A dialog that is open until what was typed is on the disk: a full disk loses none of it."""

    def _show_problem(self, text: str) -> None:
        self.query_one(".problem", Static).update(Content(shown(text, 400, lines=True)))

    async def _close_after(self, saving: Awaitable[None]) -> None:
        try:
            await saving
        except LlmtuiError as error:
            self._show_problem(error.sentence())
        else:
            self.dismiss(None)

    def action_close(self) -> None:
        self.dismiss(None)


class TagsDialog(AnnotationDialog):
    """All tags of a run in one line."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close")]

    def __init__(self, name: str, tags: tuple[str, ...], save: Callable[[tuple[str, ...]], Awaitable[None]]) -> None:
        """save: takes the new tags, and raises LlmtuiError if they cannot be written."""
        super().__init__()
        self._run_name, self._tags, self._save_tags = name, tags, save

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(f"Tags of {shown(self._run_name, 64)}"), classes="title")
            yield Input(" ".join(self._tags), placeholder="such as baseline lr-sweep", select_on_focus=False)
            yield Static("", classes="problem")
            yield Static("separated by spaces · enter saves · esc leaves them as they were", classes="hint")

    @on(Input.Changed)
    def _check(self, message: Input.Changed) -> None:
        _, problem = _parsed(message.value)
        self._show_problem(problem)

    @on(Input.Submitted)
    async def _save(self, message: Input.Submitted) -> None:
        tags, problem = _parsed(message.value)
        if not problem:
            await self._close_after(self._save_tags(tags))


def _parsed(text: str) -> tuple[tuple[str, ...], str]:
    """The tags in `text`, and what is wrong with it."""
    try:
        return tuple(checked_tag(tag) for tag in text.split()), ""
    except AnnotationError as error:
        return (), f"{error.what}: {error.todo}"


class Note(NamedTuple):
    """A note that the user has written."""

    text: str
    """Empty: the note is to be removed."""
    step: int | None
    """None: it is on the whole run."""


class NoteDialog(AnnotationDialog):
    """A note on a run, or on the step in the upper field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close"),
        Binding("tab,shift+tab", "app.focus_next"),
    ]

    def __init__(
        self, name: str, annotations: Annotations, step: int | None, save: Callable[[Note], Awaitable[None]]
    ) -> None:
        """step: that the note is on at first; None: the run. save: raises LlmtuiError if it cannot be written."""
        super().__init__()
        self._run_name, self._annotations, self._step, self._save_note = name, annotations, step, save

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(f"Note on {shown(self._run_name, 64)}"), classes="title")
            with Horizontal(classes="field"):
                yield Static("step", classes="label")
                start = "" if self._step is None else str(self._step)
                yield Input(start, placeholder="empty: the whole run", type="integer", max_length=12)
            yield PromptInput(id="note")
            yield Static("", classes="problem")
            yield Static("enter saves, empty removes · alt+enter new line · tab step · esc leaves", classes="hint")

    def on_mount(self) -> None:
        area = self.query_one(PromptInput)
        area.placeholder = "what happened, what to try next"
        area.text = self._present(self._step)
        area.move_cursor(area.document.end)
        area.focus()

    def _present(self, step: int | None) -> str:
        """The note there is, sanitised."""
        found = self._annotations.note if step is None else self._annotations.step_notes.get(step, "")
        return shown(found, 100_000, lines=True)

    def _entered_step(self) -> int | None:
        value = self.query_one(Input).value
        return int(value) if value.isdecimal() else None

    @on(Input.Changed)
    def _show_note_of_step(self) -> None:
        area, step = self.query_one(PromptInput), self._entered_step()
        if area.text == self._present(self._step):  # else the user has written a new one already
            area.text = self._present(step)
        self._step = step

    @on(Input.Submitted)
    def _to_note(self) -> None:
        self.query_one(PromptInput).focus()

    @on(PromptInput.Submitted)
    async def _save(self, message: PromptInput.Submitted) -> None:
        typed = self.query_one(Input).value
        try:
            if typed and not typed.isdecimal():
                raise AnnotationError(f"{typed} is not a step")
            with_note(self._annotations, message.text, self._step)
        except AnnotationError as error:
            self._show_problem(error.what + (f": {error.todo}" if error.todo else ""))
        else:
            await self._close_after(self._save_note(Note(message.text, self._step)))
