"""The last notices, to be read again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from llmtui.tui.screens.dialogs import Dialog
from llmtui.tui.session import PastNotice
from llmtui.tui.widgets.pane import ScrollPane
from llmtui.view.lines import Line, hanging
from llmtui.view.sanitize import shown


class NoticeLines(ScrollPane):
    """Notices with the time of each, the newest first."""

    HELP: ClassVar[str] = "What was said at the bottom of the screen, the newest first."

    FRAMED: ClassVar[bool] = False

    def __init__(self, notices: Sequence[PastNotice]) -> None:
        super().__init__()
        self._notices = notices

    def content(self, width: int) -> list[Line]:
        lines: list[Line] = []
        for notice in reversed(self._notices):
            at = time.strftime("%H:%M:%S  ", time.localtime(notice.at))
            lines += hanging([(shown(notice.text), notice.role)], (at, "dim"), width)
        return lines or [[("There was no notice yet.", "dim")]]

    def on_resize(self) -> None:
        self.styles.height = len(self.content(self.inner_size[0]))


class Notices(Dialog[None]):
    """The last notices."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,exclamation_mark", "close")]

    def __init__(self, notices: Sequence[PastNotice]) -> None:
        super().__init__()
        self._notices = notices

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -notices"):
            yield Static("Notices, the newest first", classes="title")
            yield NoticeLines(self._notices)
            yield Static("↑ ↓ move · esc closes this", classes="hint")

    def on_mount(self) -> None:
        self.query_one(NoticeLines).focus()

    def action_close(self) -> None:
        self.dismiss(None)
