"""Inputs whose value is changed with the arrow keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from textual import events
from textual.message import Message

from llmtui.tui.widgets.pane import Pane
from llmtui.view.lines import Line, joined


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


class NumberInput(NamedTuple):
    """One number of `NumberInputs`."""

    name: str
    default: float
    step: Callable[[float, int], float]
    """The new value, given the old one and a direction, 1 or -1."""
    format: Callable[[float], str]


class NumberInputs(Pane, can_focus=True):
    """Numbers in one line, or one below the other in a box: left and right choose one, up and down change it."""

    class Changed(Message):
        """Posted when the user changed a number."""

    def __init__(self, inputs: list[NumberInput], *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._inputs = inputs
        self._values = {number.name: number.default for number in inputs}
        self._index = 0

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    @property
    def values(self) -> dict[str, float]:
        """All numbers by name."""
        return dict(self._values)

    def set(self, name: str, value: float) -> None:
        """Set the number `name`."""
        self._values[name] = value
        self.update()

    def heading(self, width: int) -> Line:
        return [("sampling", "title"), ("  arrows change them" if self.has_focus else "", "dim")]

    def lines(self, width: int, height: int) -> list[Line]:
        entries = []
        for i, number in enumerate(self._inputs):
            chosen = self.has_focus and i == self._index
            value = number.format(self._values[number.name])
            entries.append(
                [(f"{number.name} ", "dim"), (f" {value} " if chosen else value, "cursor" if chosen else "")]
            )
        if height >= len(entries):
            names = max(len(number.name) for number in self._inputs)
            return [[(text.ljust(names + 2) if role == "dim" else text, role) for text, role in e] for e in entries]
        return [joined(entries, width, "   ")]

    def on_key(self, event: events.Key) -> None:
        direction = {"left": -1, "right": 1}.get(event.key)
        step = {"up": 1, "down": -1, "plus": 1, "minus": -1}.get(event.key)
        if direction:
            self._index = (self._index + direction) % len(self._inputs)
        elif step:
            number = self._inputs[self._index]
            self._values[number.name] = number.step(self._values[number.name], step)
            self.post_message(self.Changed())
        else:
            return
        self.update()
        event.stop()
