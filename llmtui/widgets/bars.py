"""The single lines at the top and the bottom of a screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from llmtui.actions import Action, key_name, keys_of
from llmtui.widgets.lines import Line, clip, joined, spread, width
from llmtui.widgets.pane import Pane


class TopLine(Pane):
    """Set `left` and `right`, then `update`."""

    FRAMED: ClassVar[bool] = False

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.left: Line = []
        self.right: Line = []

    def lines(self, width: int, height: int) -> list[Line]:
        return [spread(self.left, self.right, width)]


class KeyLine(Pane):
    """What can be done here, as much as fits; or, until the next key, what was just done."""

    FRAMED: ClassVar[bool] = False

    def __init__(self, actions: list[Action], applicable: Callable[[str], bool], keymap: Mapping[str, str]) -> None:
        super().__init__(id="keys")
        self._actions, self._applicable, self._keymap = actions, applicable, keymap
        self._said: Line = []
        self.instead: list[tuple[str, str]] = []
        """(key, what it does) pairs that stand for the actions, while a field takes the letters."""

    def say(self, text: str, role: str = "") -> None:
        """Show `text` instead of the keys."""
        self._said = [(text, role)]
        self.update()

    def silence(self) -> None:
        """Back to the keys."""
        if self._said:
            self._said = []
            self.update()

    def lines(self, width: int, height: int) -> list[Line]:
        if self._said:
            return [clip(self._said, width)]
        if self.instead:
            return [joined([[(key, "key"), (f" {what}", "dim")] for key, what in self.instead], width)]
        return [self._keys(width)]

    def _keys(self, cells: int) -> Line:
        usable = [action for action in self._actions if action.show and self._applicable(action.id)]
        # help and the palette lead to everything else, so they are the last to give way
        certain = [action for action in usable if action.id in ("app.help", "app.palette", "app.leave")]
        shown_actions = list(certain)
        for action in usable:
            if action not in shown_actions:
                more = [*shown_actions, action]
                if sum(width(self._entry(a)) for a in more) <= cells + 2:
                    shown_actions = more
        ordered = [action for action in usable if action in shown_actions and action not in certain] + certain
        return clip([span for action in ordered for span in self._entry(action)], cells)

    def _entry(self, action: Action) -> Line:
        return [(key_name(keys_of(action, self._keymap)[0]), "key"), (f" {action.label}  ", "dim")]
