"""The help: all keys, from the table of actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from llmtui.tui.action_table import ACTIONS
from llmtui.tui.actions import NAVIGATION, grouped, key_name, keys_of
from llmtui.tui.widgets.pane import ScrollPane
from llmtui.view.lines import Line, cell, hanging, wrap

_KEY_WIDTH = 10
"""Cells for an action's keys."""


class KeyTable(ScrollPane):
    """Actions with their keys, by group."""

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
                head = f"{keys} " if cell_len(keys) > _KEY_WIDTH - 2 else cell(keys, _KEY_WIDTH)
                lines += hanging([(action.description, ""), (where, "dim")], (head, "key"), width)
        lines += [[], [("Moving", "title")]]
        for moving, what in NAVIGATION:
            lines += [
                *([(part, "key")] for part in wrap(moving, width)),
                *hanging([(what, "")], (" " * _KEY_WIDTH, ""), width),
            ]
        return lines


class Help(ModalScreen[None]):
    """A dialog with the keys in force."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "close"),
    ]

    def __init__(self, keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._keymap = keymap

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -help"):
            yield KeyTable(self._keymap)
            hint = "↑ ↓ move · esc closes this · your own keys: config.toml, [keymap]"
            yield Static(Content(hint), classes="hint")  # in a plain string brackets are markup

    def action_close(self) -> None:
        self.dismiss(None)
