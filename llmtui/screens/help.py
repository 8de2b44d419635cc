"""All keys, from the registry of actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from llmtui.actions import ACTIONS, MOVING, grouped, key_name, keys_of
from llmtui.widgets.lines import Line, cell, clip
from llmtui.widgets.pane import Scrolling


class Keys(Scrolling):
    """The table."""

    FRAMED: ClassVar[bool] = False

    def __init__(self, keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._keymap = keymap

    def content(self, width: int) -> list[Line]:
        lines: list[Line] = []
        for group, actions in grouped(ACTIONS).items():
            lines += [[], [(group, "title")]] if lines else [[(group, "title")]]
            for action in actions:
                keys = " ".join(key_name(key) for key in keys_of(action, self._keymap))
                where = "" if "app" in action.scopes else f"  {', '.join(action.scopes)}"
                lines.append(clip([(cell(keys, 10), "key"), (action.description, ""), (where, "dim")], width))
        lines += [[], [("Moving", "title")]]
        for moving, what in MOVING:
            lines += [[(moving, "key")], [(" " * 10 + what, "")]]
        return lines


class Help(ModalScreen[None]):
    """The keys in force."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "leave"),
    ]

    def __init__(self, keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._keymap = keymap

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -help"):
            yield Keys(self._keymap)
            yield Static("↑ ↓ move · esc closes this · your own keys: config.toml, [keymap]", classes="hint")

    def action_leave(self) -> None:
        self.dismiss(None)
