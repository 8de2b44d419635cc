"""A picker that switches several choices on and off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.widgets import Input, OptionList

from llmtui.tui.screens.picker import Choice, Picker

MARKED, UNMARKED = "✓ ", "  "


class Toggles(Picker):
    """A picker that stays open: enter switches the highlighted choice.

    toggle: called with the value switched, returns those that are on.
    """

    HINT: ClassVar[str] = "type to narrow, enter switches, esc closes"

    def __init__(
        self, title: str, choices: Sequence[Choice], on_values: Iterable[str], toggle: Callable[[str], Iterable[str]]
    ) -> None:
        super().__init__(title, ())
        self._all, self._toggle = choices, toggle
        self._mark(on_values)

    def _mark(self, on_values: Iterable[str]) -> None:
        chosen = set(on_values)
        self._choices = [
            choice._replace(name=(MARKED if choice.value in chosen else UNMARKED) + choice.name) for choice in self._all
        ]

    @on(Input.Submitted)
    def _entered(self, message: Input.Submitted) -> None:
        message.prevent_default()
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self._switch(options.get_option_at_index(options.highlighted).id)

    @on(OptionList.OptionSelected)
    def _pressed(self, message: OptionList.OptionSelected) -> None:
        message.prevent_default()
        self._switch(message.option_id)

    def _switch(self, value: str | None) -> None:
        if value is not None:
            self._mark(self._toggle(value))
            self._current = value
            self._filter(self.query_one(Input).value)
