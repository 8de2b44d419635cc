"""A list with a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from textual import events
from textual.message import Message

from llmtui.tui.widgets.pane import Pane
from llmtui.view.lines import Line, plain, width

Item = TypeVar("Item")

_COPIED_CELLS = 200
"""Width at which a row is copied, so that its texts are not cut."""

_STATES = ("good", "warn", "bad", "accent")
"""Roles that keep their colour: all in a list without the focus, under its cursor that of the mark at the start."""


class ListPane(Pane, Generic[Item], can_focus=True):
    """Items, a line each. The cursor stays on its item when the list changes. Subclasses define `key` and `row`."""

    KEYS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("↑ ↓, j k", "Move the cursor by a line."),
        ("pgup pgdn", "Move it by a page."),
        ("home end, g G", "To the first line, to the last."),
    )

    class Highlighted(Message):
        """Posted when the cursor moved to another item."""

        def __init__(self, pane: Pane) -> None:
            super().__init__()
            self.pane = pane

        @property
        def control(self) -> Pane:
            """The list, for the selector of `@on`."""
            return self.pane

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.items: Sequence[Item] = ()
        self._cursor = ""
        """Key of the highlighted item."""
        self._top = 0
        """Index of the first item shown."""
        self._page = 1
        """Number of items that fit."""
        self.header_rows = 0
        """Lines of the content above the first item."""

    # -- for subclasses -------------------------------------------------------------------------------------------

    def key(self, item: Item) -> str:
        """What identifies `item` while the list changes."""
        raise NotImplementedError

    def row(self, item: Item, cells: int) -> Line:
        """The line of `item`, at most `cells` cells."""
        raise NotImplementedError

    def placeholder(self, cells: int) -> list[Line]:
        """Shown instead of an empty list."""
        return []

    def lines(self, cells: int, height: int) -> list[Line]:
        return self.window(cells, height) if self.items else self.placeholder(cells)

    def window(self, cells: int, height: int) -> list[Line]:
        """The lines of the `height` items around the cursor."""
        index = self.index
        self._page = max(1, height)
        self._top = max(0, min(self._top, index, len(self.items) - height))  # no blank rows below the last item
        self._top = max(self._top, index - height + 1)
        rows = [self.row(item, cells) for item in self.items[self._top : self._top + height]]
        if rows:
            rows[index - self._top] = self._with_cursor(rows[index - self._top], cells)
        return rows

    @property
    def copied(self) -> str:
        """The highlighted item, as wide as its texts are."""
        item = self.highlighted
        return "" if item is None else plain([self.row(item, max(_COPIED_CELLS, self.inner_size[0]))])

    # -- cursor ---------------------------------------------------------------------------------------------------

    @property
    def highlighted(self) -> Item | None:
        """The item under the cursor."""
        return next((item for item in self.items if self.key(item) == self._cursor), None)

    @property
    def index(self) -> int:
        """Of the highlighted item; 0 if there is none."""
        return next((i for i, item in enumerate(self.items) if self.key(item) == self._cursor), 0)

    def highlight(self, key: str) -> None:
        """Move the cursor to the item with that key."""
        if key and key != self._cursor:
            self._cursor = key
            self.update()

    def show_items(self, items: Sequence[Item]) -> None:
        """Replace the items. If the highlighted one is gone, the cursor moves to the one at its place."""
        index = self.index
        self.items = items
        if items and self.highlighted is None:
            self._move_to(min(index, len(items) - 1))
        else:
            self.update()

    def _move_to(self, index: int) -> None:
        self._cursor = self.key(self.items[index])
        self.post_message(self.Highlighted(self))
        self.update()

    def _with_cursor(self, row: Line, cells: int) -> Line:
        if not self.has_focus:
            return [(text, role if role in _STATES else "bold") for text, role in row]
        mark = row[:1] if len(row) > 1 and row[0][1] in _STATES else []
        line: Line = [*mark, *((text, "cursor") for text, _ in row[len(mark) :])]
        return [*line, (" " * max(0, cells - width(row)), "cursor")]

    # -- events ---------------------------------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -self._page, "pagedown": self._page}
        steps |= {"home": -len(self.items), "g": -len(self.items), "end": len(self.items), "G": len(self.items)}
        if event.key in steps and self.items:
            self._move_to(max(0, min(len(self.items) - 1, self.index + steps[event.key])))
            event.stop()

    def on_click(self, event: events.Click) -> None:
        row = event.y - 1 - self.header_rows
        if 0 <= row < self._page and row + self._top < len(self.items):
            self._move_to(row + self._top)

    def on_mouse_scroll_down(self) -> None:
        if self.items:
            self._move_to(min(len(self.items) - 1, self.index + 1))

    def on_mouse_scroll_up(self) -> None:
        if self.items:
            self._move_to(max(0, self.index - 1))
