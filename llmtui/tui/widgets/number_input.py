"""Values that are stepped with the arrow keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from textual import events
from textual.message import Message

from llmtui.tui.widgets.pane import Pane
from llmtui.view.lines import Line, joined


class Stepper(Pane, can_focus=True):
    """One of a few words, in one line: left and right choose."""

    FRAMED: ClassVar[bool] = False

    def __init__(self, values: list[str], *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._values, self._place = values, 0

    @property
    def value(self) -> str:
        return self._values[self._place]

    def lines(self, width: int, height: int) -> list[Line]:
        role = "key" if self.has_focus else "dim"
        return [[("◂ ", role), (self.value, "cursor" if self.has_focus else ""), (" ▸", role)]]

    def on_key(self, event: events.Key) -> None:
        step = {"left": -1, "right": 1}.get(event.key)
        if step:
            self._place = (self._place + step) % len(self._values)
            self.update()
            event.stop()


class Dial(NamedTuple):
    """One number: its name, where it starts, how one step up or down changes it, how it is written."""

    name: str
    start: float
    step: Callable[[float, int], float]
    written: Callable[[float], str]


class Dials(Pane, can_focus=True):
    """Numbers in one line, or one below the other in a box: left and right choose one, up and down change it."""

    class Turned(Message):
        """A number changed."""

    def __init__(self, dials: list[Dial], *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._dials = dials
        self._values = {dial.name: dial.start for dial in dials}
        self._place = 0

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    @property
    def values(self) -> dict[str, float]:
        """All of them, by name."""
        return dict(self._values)

    def set(self, name: str, value: float) -> None:
        """Give one number a value."""
        self._values[name] = value
        self.update()

    def heading(self, width: int) -> Line:
        return [("sampling", "title"), ("  arrows change them" if self.has_focus else "", "dim")]

    def lines(self, width: int, height: int) -> list[Line]:
        entries = []
        for i, dial in enumerate(self._dials):
            chosen = self.has_focus and i == self._place
            value = dial.written(self._values[dial.name])
            entries.append([(f"{dial.name} ", "dim"), (f" {value} " if chosen else value, "cursor" if chosen else "")])
        if height >= len(entries):
            names = max(len(dial.name) for dial in self._dials)
            return [[(text.ljust(names + 2) if role == "dim" else text, role) for text, role in e] for e in entries]
        return [joined(entries, width, "   ")]

    def on_key(self, event: events.Key) -> None:
        beside = {"left": -1, "right": 1}.get(event.key)
        step = {"up": 1, "down": -1, "plus": 1, "minus": -1}.get(event.key)
        if beside:
            self._place = (self._place + beside) % len(self._dials)
        elif step:
            dial = self._dials[self._place]
            self._values[dial.name] = dial.step(self._values[dial.name], step)
            self.post_message(self.Turned())
        else:
            return
        self.update()
        event.stop()
