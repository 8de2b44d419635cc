"""The header, notices and footer of a screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.timer import Timer

from llmtui.tui.action_table import Action, Scope
from llmtui.tui.actions import actions_in, key_name, keys_of, named_key
from llmtui.tui.screen_table import DATA_VIEWS, STUDY
from llmtui.tui.widgets.pane import Pane
from llmtui.view.lines import Line, clip, joined, spread, width, wrap

MIN_SECONDS = 3.0
"""How long a notice is shown at least."""

LETTERS_PER_SECOND = 15.0
"""Reading speed, by which long notices are shown for longer: up to 10 s."""


class KeyBar(Pane):
    """One line that names keys and what they do. A click on either presses the key."""

    FRAMED: ClassVar[bool] = False

    def on_click(self, event: events.Click) -> None:
        at, name = 0, ""
        for text, role in self._rows[0] if self._rows else ():
            name = text if role == "key" else name if role == "dim" else ""
            at += cell_len(text)
            if event.x < at:
                if key := named_key(name):
                    self.app.simulate_key(key)
                return


class HeaderBar(KeyBar):
    """The first line of a screen. Set `left` and `right`, then call `update`."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.left: Line = []
        self.right: Line = []

    def lines(self, width: int, height: int) -> list[Line]:
        return [spread(self.left, self.right, width)]


class Notice(Pane):
    """A message above the footer that disappears by itself: what was just done, or why it cannot be done."""

    FRAMED: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._message: list[Line] = []
        self._timer: Timer | None = None
        self.display = False

    def show_text(self, text: str, role: str = "") -> None:
        """Show `text` for as long as it takes to read it, instead of the message before."""
        self._message = [[(part, role or "accent")] for part in wrap(text, max(1, self.app.size.width - 2))]
        self.styles.height = len(self._message)
        self.display = True
        self.update()
        if self._timer:
            self._timer.stop()
        self._timer = self.set_timer(MIN_SECONDS + len(text) / LETTERS_PER_SECOND, self._hide)

    def _hide(self) -> None:
        self.display = False

    def lines(self, width: int, height: int) -> list[Line]:
        return self._message


ALL_NAMES_FROM, NUMBERS_FROM = 160, 60
"""Columns from which the footer names all screens, and from which it has their numbers."""


class FooterBar(KeyBar):
    """The screens, with the current one by name, and the keys of the available actions, as many as fit."""

    def __init__(self, scope: Scope, is_available: Callable[[str], bool], keymap: Mapping[str, str]) -> None:
        super().__init__(id="keys")
        self._scope, self._is_available, self._keymap = scope, is_available, keymap
        self._actions = actions_in(scope)
        self.override: list[tuple[str, str]] = []
        """(key, what it does) pairs to show instead of the actions, while an input takes the letters."""
        self._shown: Line = []
        self._shown_for: tuple[int, Sequence[Action]] = 0, ()
        """The width and the available actions that `_shown` was made for."""

    def lines(self, width: int, height: int) -> list[Line]:
        if self.override:
            return [joined([[(key, "key"), (f" {what}", "dim")] for key, what in self.override], width)]
        available = [action for action in self._actions if self._is_available(action.id)]
        # they change with what the user does, not with every tick
        if self._shown_for != (width, available):
            self._shown_for, self._shown = (width, available), self._entries(available, width)
        return [self._shown]

    def _entries(self, available: Sequence[Action], cells: int) -> Line:
        screens = self._screens(available, cells)
        usable = [action for action in available if action.show]
        # help and palette lead to everything else, so they always stay
        always = [action for action in usable if action.id in ("app.help", "app.palette", "app.leave")]
        shown_actions = list(always)
        for action in usable:
            if action not in shown_actions:
                more = [*shown_actions, action]
                if sum(width(self._entry(a)) for a in more) <= cells - width(screens) + 2:
                    shown_actions = more
        ordered = [action for action in usable if action in shown_actions and action not in always] + always
        return clip(screens + [span for action in ordered for span in self._entry(action)], cells)

    def _screens(self, available: Sequence[Action], cells: int) -> Line:
        """Where one is and where one can go; empty if there is no space for it."""
        if cells < NUMBERS_FROM:
            return []
        line: Line = []
        current = "data" if self._scope in {view.name for view in DATA_VIEWS} else self._scope
        current = "compare" if current == STUDY.name else current
        for action in available:
            if action.screen:
                here = action.screen == current
                name = f" {action.label}" if here or cells >= ALL_NAMES_FROM else ""
                key = key_name(keys_of(action, self._keymap)[0])
                line += [(key, "bold" if here else "key"), (f"{name} ", "bold" if here else "dim")]
        return [*line, ("│ ", "frame")] if line else []

    def _entry(self, action: Action) -> Line:
        return [(key_name(keys_of(action, self._keymap)[0]), "key"), (f" {action.label}  ", "dim")]
