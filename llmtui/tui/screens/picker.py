"""A dialog that chooses from a list, filtered by typing: commands, themes, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from llmtui.tui.run_watcher import RunsUpdated
from llmtui.view.lines import cell, cut
from llmtui.view.sanitize import shown

_MAX_WIDTH = 86
"""Cells for name and detail."""

_MAX_NAME = 120
"""Characters of a name."""

_MAX_ROWS = 16
"""Rows of the list."""

NO_MATCH = "nothing has these words"

_CURSOR = Style(reverse=True)


class Choice(NamedTuple):
    """One line of the list."""

    value: str
    name: str
    detail: str = ""
    keywords: str = ""
    """Further words that the filter finds it by."""


class ChoiceList(OptionList):
    """One line per option, the highlighted one in reverse video, which every theme and NO_COLOR show. A style sheet
    cannot do that: Textual removes `reverse` from the style of an option."""

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        if self.scroll_offset.y + y != self.highlighted:
            return strip
        style = next((segment.style for segment in strip if segment.style), _CURSOR)  # that of the name
        return Strip([Segment(strip.text, style + _CURSOR)], strip.cell_length)


class Picker(ModalScreen[str | None]):
    """A filter and a list of choices; the result is the value chosen, or None.

    preview: called with the highlighted value, and with `current` when the dialog is cancelled. refreshed: returns the
    choices as they are now, after each update of the runs; the highlighted one stays highlighted.
    """

    CSS_PATH = "dialogs.tcss"
    HINT: ClassVar[str] = "type to narrow, enter chooses, esc leaves"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave"),
        Binding("down,tab", "move(1)"),
        Binding("up,shift+tab", "move(-1)"),
    ]

    def __init__(
        self,
        title: str,
        choices: Sequence[Choice],
        *,
        current: str = "",
        preview: Callable[[str], None] | None = None,
        refreshed: Callable[[], Sequence[Choice]] | None = None,
    ) -> None:
        super().__init__()
        self._title, self._choices, self._current, self._preview = title, choices, current, preview
        self._refreshed = refreshed

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -picker"):
            yield Static(Content(shown(self._title)), classes="title")
            yield Input(placeholder=self.HINT)
            yield ChoiceList(markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self._filter("")

    def on_resize(self) -> None:
        self._filter(self.query_one(Input).value)

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        self._filter(message.value)

    @on(RunsUpdated)
    def _on_runs_updated(self) -> None:
        choices = self._refreshed() if self._refreshed else self._choices
        if choices != self._choices:
            self._choices = choices
            options = self.query_one(OptionList)
            if options.highlighted is not None:
                self._current = options.get_option_at_index(options.highlighted).id or ""
            self._filter(self.query_one(Input).value)

    def _filter(self, text: str) -> None:
        found = self.matching(text)
        options = self.query_one(OptionList)
        # a dialog takes at most 96 % of the height; in a higher list the highlighted line could be outside
        options.styles.max_height = max(1, min(_MAX_ROWS, self.app.size.height * 96 // 100 - 4))
        options.clear_options()
        # a dialog takes at most 96 % of the width, 7 cells of which are border, padding and scrollbar
        cells = min(_MAX_WIDTH, self.app.size.width * 96 // 100 - 7)
        # of all choices, so that the details stay where they are while one types
        names = max((cell_len(shown(choice.name, _MAX_NAME)) for choice in self._choices), default=0)
        options.add_options([Option(_line(choice, names, cells), id=choice.value) for choice in found])
        if not found:
            options.add_option(Option(Content(NO_MATCH), disabled=True))
        current = [i for i, choice in enumerate(found) if choice.value == self._current]
        options.highlighted = current[0] if current else 0 if found else None

    def matching(self, text: str) -> Sequence[Choice]:
        """The choices that are listed when `text` is typed."""
        words = text.lower().split()
        return [c for c in self._choices if all(word in f"{c.name} {c.detail} {c.keywords}".lower() for word in words)]

    def action_move(self, step: int) -> None:
        options = self.query_one(OptionList)
        if step > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, message: OptionList.OptionHighlighted) -> None:
        if self._preview and message.option_id:
            self._preview(message.option_id)

    @on(OptionList.OptionSelected)
    def _clicked(self, message: OptionList.OptionSelected) -> None:
        self.dismiss(message.option_id)

    @on(Input.Submitted)
    def _chosen(self) -> None:
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self.dismiss(options.get_option_at_index(options.highlighted).id)

    def action_leave(self) -> None:
        if self._preview and self._current:
            self._preview(self._current)
        self.dismiss(None)


def _line(choice: Choice, names: int, cells: int) -> Content:
    """Name and detail in `cells` cells: two columns, or the detail at the right end where the names are long.

    names: cells of the longest name.
    """
    name, detail = shown(choice.name, _MAX_NAME), shown(choice.detail, 200)
    if not detail:
        return Content(cell(name, cells))
    if names <= cells // 2:
        return Content.assemble(cell(name, names) + "  ", (cut(detail, cells - names - 2), "$muted"))
    detail = cut(detail, cells // 2)
    return Content.assemble(cell(name, cells - cell_len(detail) - 2) + "  ", (detail, "$muted"))
