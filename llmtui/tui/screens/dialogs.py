"""Modal dialogs: confirmations and errors."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from core.errors import LlmtuiError
from llmtui.tui.screens.cancels_workers import CancelsWorkers
from llmtui.tui.screens.workbench_screen import copy_text
from llmtui.view.sanitize import shown

Answer = TypeVar("Answer")


class Dialog(CancelsWorkers, ModalScreen[Answer]):
    """A dialog that scrolls if it is higher than the terminal."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pagedown", "scroll_page(1)"),
        Binding("pageup", "scroll_page(-1)"),
    ]

    def action_scroll_page(self, pages: int) -> None:
        dialog = self.query_one(".dialog")
        dialog.scroll_relative(y=pages * max(1, dialog.size.height - 1), animate=False)


class Confirm(Dialog[bool]):
    """A question with two answers; the harmless one has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "answer(False)"),
        Binding("y", "answer(True)"),
        Binding("left,up", "app.focus_previous"),
        Binding("right,down", "app.focus_next"),
    ]

    def __init__(self, question: str, *, yes: str, no: str) -> None:
        super().__init__()
        self._question, self._yes, self._no = question, yes, no

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(shown(self._question, lines=True)))
            with Horizontal(classes="buttons"):
                yield Button(Content(f"n  {self._no}"), id="no")
                yield Button(Content(f"y  {self._yes}"), id="yes", variant="warning")

    def on_mount(self) -> None:
        self.query_one("#no").focus()

    @on(Button.Pressed)
    def _pressed(self, message: Button.Pressed) -> None:
        self.dismiss(message.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class ConfirmDelete(Dialog[bool]):
    """Confirms that a run is deleted: the user has to type its name."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close")]

    def __init__(self, displayed: str, name: str) -> None:
        super().__init__()
        self._displayed, self._name_to_type = displayed, name

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(f"Delete {self._displayed} with its checkpoints? This cannot be undone."))
            yield Input(placeholder="type the run's name, then enter; esc keeps it")
            yield Static("", classes="problem")

    @on(Input.Submitted)
    def _typed(self, message: Input.Submitted) -> None:
        if message.value.strip() == self._name_to_type:
            self.dismiss(True)
        else:
            self.query_one(".problem", Static).update(Content(f"That is not {self._displayed}."))

    def action_close(self) -> None:
        self.dismiss(False)


class ErrorDialog(Dialog[str | None]):
    """What went wrong, where, what was kept and what to try. The result is "log" if the user wants to see the log."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,space,q", "close"),
        Binding("y,ctrl+y", "copy"),
        Binding("l", "log"),
    ]

    def __init__(self, error: LlmtuiError, *, has_log: bool = False) -> None:
        """has_log: whether the error belongs to a run, whose log may say more."""
        super().__init__()
        self._error, self._has_log = error, has_log

    def compose(self) -> ComposeResult:
        error = self._error
        with Vertical(classes="dialog -error"):
            yield Static(Content(shown(f"Cannot {error.doing}: {error.what}")))
            for label, text in (("where", error.where), ("kept", error.kept), ("try", error.todo)):
                if text:
                    with Horizontal(classes="labelled"):
                        yield Static(label, classes="label")
                        yield Static(Content(shown(text, lines=True)), classes="detail")
            yield Static("", classes="detail said")
            log = " · l log" if self._has_log else ""
            yield Static(f"esc close · y copy{log} · pgdn pgup scroll", classes="hint")

    def action_close(self) -> None:
        self.dismiss(None)

    def action_log(self) -> None:
        if self._has_log:
            self.dismiss("log")

    def action_copy(self) -> None:
        copy_text(self.app, self._error.sentence(), "the error", self._say)

    def _say(self, text: str) -> None:
        if self.is_mounted:
            said = self.query_one(".said", Static)
            said.display = True
            said.update(Content(shown(text)))


class AskNumber(Dialog[int | None]):
    """Asks for a whole number from `lowest` on; None if it is cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close")]

    def __init__(self, question: str, *, lowest: int) -> None:
        super().__init__()
        self._question, self._lowest = question, lowest

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(shown(self._question)))
            yield Input(placeholder="a number, then enter; esc leaves")
            yield Static("", classes="problem")

    @on(Input.Submitted)
    def _typed(self, message: Input.Submitted) -> None:
        digits = message.value.strip().replace(",", "")
        if digits.isdecimal() and self._lowest <= int(digits) < 2**50:
            self.dismiss(int(digits))
        else:
            self.query_one(".problem", Static).update(Content(f"That is no number from {self._lowest:,} on."))

    def action_close(self) -> None:
        self.dismiss(None)
