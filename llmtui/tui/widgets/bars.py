"""The single lines at the top and the bottom of a screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from textual.timer import Timer

from llmtui.tui.actions import Action, key_name, keys_of
from llmtui.tui.widgets.pane import Pane
from llmtui.view.lines import Line, clip, joined, spread, width, wrap

SHOWN_FOR = 3.0
"""Seconds that a notice stands at least,"""

LETTERS_A_SECOND = 15.0
"""and how fast it is read: 3 to 10 s for those there are."""


class HeaderBar(Pane):
    """Set `left` and `right`, then `update`."""

    FRAMED: ClassVar[bool] = False

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.left: Line = []
        self.right: Line = []

    def lines(self, width: int, height: int) -> list[Line]:
        return [spread(self.left, self.right, width)]


class Notice(Pane):
    """What was just done or cannot be done: over the last lines of the screen, never over its keys, for a while."""

    FRAMED: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._said: list[Line] = []
        self._timer: Timer | None = None
        self.display = False

    def show_text(self, text: str, role: str = "") -> None:
        """Show `text` as long as it takes to read it, in place of what was said before."""
        self._said = [[(part, role or "accent")] for part in wrap(text, max(1, self.app.size.width - 2))]
        self.styles.height = len(self._said)
        self.display = True
        self.update()
        if self._timer:
            self._timer.stop()
        self._timer = self.set_timer(SHOWN_FOR + len(text) / LETTERS_A_SECOND, self._leave)

    def _leave(self) -> None:
        self.display = False

    def lines(self, width: int, height: int) -> list[Line]:
        return self._said


class FooterBar(Pane):
    """What can be done here, as much as fits."""

    FRAMED: ClassVar[bool] = False

    def __init__(self, actions: list[Action], applicable: Callable[[str], bool], keymap: Mapping[str, str]) -> None:
        super().__init__(id="keys")
        self._actions, self._applicable, self._keymap = actions, applicable, keymap
        self.instead: list[tuple[str, str]] = []
        """(key, what it does) pairs that stand for the actions, while a field takes the letters."""

    def lines(self, width: int, height: int) -> list[Line]:
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
