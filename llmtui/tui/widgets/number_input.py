"""Inputs whose value is changed with the arrow keys."""

from __future__ import annotations

from typing import ClassVar

from textual import events

from llmtui.tui.widgets.pane import Pane
from llmtui.view.lines import Line


class ChoiceInput(Pane, can_focus=True):
    """Chooses one of a few words, in one line, with left and right."""

    FRAMED: ClassVar[bool] = False

    def __init__(self, values: list[str], *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._values, self._index = values, 0

    @property
    def value(self) -> str:
        return self._values[self._index]

    def lines(self, width: int, height: int) -> list[Line]:
        role = "key" if self.has_focus else "dim"
        return [[("◂ ", role), (self.value, "cursor" if self.has_focus else ""), (" ▸", role)]]

    def on_key(self, event: events.Key) -> None:
        step = {"left": -1, "right": 1}.get(event.key)
        if step:
            self._index = (self._index + step) % len(self._values)
            self.update()
            event.stop()
