"""The help: the focused pane, then the keys of the screen, then all others, from the table of actions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Static

from llmtui.tui.action_table import ACTIONS, Action, Scope
from llmtui.tui.actions import NAVIGATION, grouped, key_name, keys_of
from llmtui.tui.widgets.pane import Pane, ScrollPane
from llmtui.view.lines import Line, cell, hanging, wrap

_KEY_WIDTH = 10
"""Cells for an action's keys."""


class HelpEntry(NamedTuple):
    """What some keys do."""

    keys: str
    text: str
    where: str = ""
    words: str = ""
    """Further words that the search finds it by."""

    def matches(self, words: Iterable[str]) -> bool:
        whole = f"{self.keys} {self.text} {self.where} {self.words}".lower()
        return all(word in whole for word in words)


class Section(NamedTuple):
    """Entries below a title."""

    title: str
    entries: list[HelpEntry]
    text: str = ""


def sections(scope: Scope, keymap: Mapping[str, str], pane: Widget | None) -> Iterator[Section]:
    """The help where `pane` has the focus on the screen `scope`: what is nearest first, nothing twice."""
    if isinstance(pane, Pane) and pane.HELP:
        title = "".join(text for text, _ in pane.heading(60)[:1]).strip() or "This pane"
        yield Section(f"{title}: where the focus is", [HelpEntry(*entry) for entry in pane.KEYS], pane.HELP)
    own = [action for action in ACTIONS if scope in action.scopes]
    everywhere = [action for action in ACTIONS if "app" in action.scopes and action not in own]
    for group, actions in grouped(own).items():
        yield Section(f"{group}, on this screen", _entries(actions, keymap, ""))
    for group, actions in grouped(everywhere).items():
        yield Section(group, _entries(actions, keymap, ""))
    yield Section("Moving", [HelpEntry(keys, what) for keys, what in NAVIGATION])
    for group, actions in grouped(action for action in ACTIONS if action not in (*own, *everywhere)).items():
        yield Section(f"{group}, on other screens", _entries(actions, keymap, "elsewhere"))


def _entries(actions: Iterable[Action], keymap: Mapping[str, str], elsewhere: str) -> list[HelpEntry]:
    return [
        HelpEntry(
            " ".join(key_name(key) for key in keys_of(action, keymap)),
            action.description,
            ", ".join(action.scopes) if elsewhere else "",
            f"{action.id} {action.label}",
        )
        for action in actions
    ]


class HelpText(ScrollPane):
    """The sections of the help, or the entries that contain all words of `search`."""

    FRAMED: ClassVar[bool] = False

    def __init__(self, shown_sections: Iterable[Section]) -> None:
        super().__init__()
        self._sections = list(shown_sections)
        self.search = ""

    def content(self, width: int) -> list[Line]:
        words = self.search.lower().split()
        lines: list[Line] = []
        for section in self._sections:
            entries = [entry for entry in section.entries if entry.matches(words)]
            if not entries and (words or not section.text):
                continue
            lines += [[], [(section.title, "title")]] if lines else [[(section.title, "title")]]
            lines += [[(part, "")] for part in wrap(section.text, width)] if section.text and not words else []
            for entry in entries:
                lines += _entry_lines(entry, width)
        return lines or [[(f"No key does anything about {self.search!r}.", "dim")]]


def _entry_lines(entry: HelpEntry, width: int) -> list[Line]:
    spans: Line = [(entry.text, ""), (f"  {entry.where}" if entry.where else "", "dim")]
    if cell_len(entry.keys) > 2 * _KEY_WIDTH:
        above: list[Line] = [[(part, "key")] for part in wrap(entry.keys, width)]
        return above + hanging(spans, (" " * _KEY_WIDTH, ""), width)
    head = f"{entry.keys} " if cell_len(entry.keys) > _KEY_WIDTH - 2 else cell(entry.keys, _KEY_WIDTH)
    return hanging(spans, (head, "key"), width)


class Help(ModalScreen[None]):
    """A dialog with the keys in force."""

    CSS_PATH = "dialogs.tcss"
    AUTO_FOCUS: ClassVar[str] = "HelpText"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close"),
        Binding("q,question_mark,f1", "leave"),
        Binding("slash", "search"),
    ]

    def __init__(self, scope: Scope, keymap: Mapping[str, str], pane: Widget | None) -> None:
        """pane: what has the focus."""
        super().__init__()
        self._sections = list(sections(scope, keymap, pane))

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -help"):
            yield Input(placeholder="words to search for; enter goes to what was found, esc shows all")
            yield HelpText(self._sections)
            hint = "↑ ↓ move · / search · esc closes this · your own keys: config.toml, [keymap]"
            yield Static(Content(hint), classes="hint")  # in a plain string brackets are markup

    def on_mount(self) -> None:
        self.query_one(Input).display = False

    def action_search(self) -> None:
        box = self.query_one(Input)
        box.display = True
        box.focus()

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        text = self.query_one(HelpText)
        text.search = message.value
        text.reset_scroll()
        text.update()

    @on(Input.Submitted)
    def _keep(self) -> None:
        self.query_one(HelpText).focus()

    def action_close(self) -> None:
        box = self.query_one(Input)
        if box.display:
            box.value, box.display = "", False
            self.query_one(HelpText).focus()
        else:
            self.dismiss(None)

    def action_leave(self) -> None:
        self.dismiss(None)
