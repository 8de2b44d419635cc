"""Jump mode: a letter on each pane of a screen, which gives it the focus."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

LETTERS = "asdfghjklqwertyuiop"
"""In the order in which panes get them: those under the fingers first."""


class Jump(ModalScreen[Widget | None]):
    """Letters over the panes; the result is the one whose letter was pressed or clicked, None for any other key."""

    CSS_PATH = "jump.tcss"

    def __init__(self, panes: Sequence[Widget]) -> None:
        super().__init__()
        self._panes = dict(zip(LETTERS, panes, strict=False))

    def compose(self) -> ComposeResult:
        for letter, pane in self._panes.items():
            label = Static(f"{letter} ", id=f"to-{letter}")
            label.styles.offset = (pane.region.x, pane.region.y)
            yield label

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.dismiss(self._panes.get(event.key))

    def on_click(self, event: events.Click) -> None:
        name = (event.widget.id or "") if event.widget else ""
        self.dismiss(self._panes.get(name.removeprefix("to-")))
