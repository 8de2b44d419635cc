"""Many lines of text with a cursor, a search and, at the end, new lines as they come."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import ClassVar

from textual import events

from llmtui.tui.widgets.pane import Pane
from llmtui.view.lines import Line, cut, width, wrap
from llmtui.view.log_lines import LogLine, find, last_failure
from llmtui.view.sanitize import shown

SIDEWAYS = 20
"""Cells by which ← and → move."""


class LogPane(Pane, can_focus=True):
    """Lines that are as long as they are: ← → show their rest. At the last line, the cursor follows new ones."""

    HELP: ClassVar[str] = (
        "The lines of the log or the journal. While the cursor is on the last line, it follows new ones."
    )
    KEYS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("↑ ↓, j k", "Move the cursor by a line."),
        ("← →", "Show the rest of lines that are too long."),
        ("pgup pgdn", "By a page."),
        ("home end, g G", "To the first line, to the last."),
    )

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.title: Line = []
        self.hint = ""
        """Shown instead of no lines."""
        self.search = ""
        self.only_matches = False
        """Hide the lines without the text that is searched for."""
        self._lines: list[LogLine] = []
        self._matches: list[int] = []
        self._cursor = 0
        """Index of a line of `_lines`."""
        self._top = self._left = 0
        self._page = 1
        self._seen = 0
        """Lines that were there when the cursor left the end."""

    # -- content --------------------------------------------------------------------------------------------------

    @property
    def is_following(self) -> bool:
        """Whether the cursor is on the last line, and moves on with new ones."""
        return self._cursor >= len(self._lines) - 1

    @property
    def length(self) -> int:
        """Number of lines."""
        return len(self._lines)

    def clear(self) -> None:
        """Remove all lines; the search stays."""
        self._lines, self._matches, self._cursor, self._top, self._left = [], [], 0, 0, 0
        self.update()

    def extend(self, lines: list[LogLine]) -> None:
        """Add lines at the end."""
        following, start = self.is_following, len(self._lines)
        self._lines += lines
        self._matches += [start + index for index in find(lines, self.search)]
        if following:
            self._cursor = max(0, len(self._lines) - 1)
            self._seen = len(self._lines)
        self.update()

    def search_for(self, text: str) -> None:
        """Find `text` as it is typed: the cursor moves to the nearest line with it, upwards first."""
        self.search = text
        self._matches = find(self._lines, text)
        if self._matches:
            self._cursor = self._matches[max(0, bisect_right(self._matches, self._cursor) - 1)]
        self.update()

    def to_match(self, step: int) -> bool:
        """Move the cursor to the next match, or the one before it with -1; from the last one to the first. Returns
        whether there is one."""
        if not self._matches:
            return False
        index = bisect_right(self._matches, self._cursor) if step > 0 else bisect_left(self._matches, self._cursor) - 1
        self._cursor = self._matches[index % len(self._matches)]
        self.update()
        return True

    def to_failure(self) -> bool:
        """Move the cursor to the last line that says why the run failed; returns whether there is one."""
        index = last_failure(self._lines)
        if index is not None:
            self._cursor = index
            self.update()
        return index is not None

    @property
    def counter(self) -> str:
        """Which match the cursor is on: "3/17"."""
        if not self.search:
            return ""
        place = bisect_right(self._matches, self._cursor)
        on_match = place and self._matches[place - 1] == self._cursor
        return f"{place if on_match else '–'}/{len(self._matches)}"

    @property
    def copied(self) -> str:
        """The line under the cursor, all of it."""
        return self._lines[self._cursor].text if self._lines else ""

    # -- drawing --------------------------------------------------------------------------------------------------

    def heading(self, cells: int) -> Line:
        return self.title

    def lines(self, cells: int, height: int) -> list[Line]:
        rows = self._shown_indices()
        if not rows:
            hint = f"No line has “{shown(self.search, 60)}”." if self.search and self._lines else self.hint
            return [[(part, "dim")] for part in wrap(hint, cells)]
        self._page = max(1, height)
        row = self._row_of_cursor(rows)
        self._top = max(0, min(self._top, row, len(rows) - height))
        self._top = max(self._top, row - height + 1)
        window = [self._line(index, cells) for index in rows[self._top : self._top + height]]
        new = len(self._lines) - self._seen
        if not self.is_following and new > 0 and self._top + height < len(rows):
            window[-1] = [(cut(f" {new:,} new lines below, G follows them ", cells), "key")]
        return window

    def _shown_indices(self) -> range | list[int]:
        return self._matches if self.only_matches and self.search else range(len(self._lines))

    def _row_of_cursor(self, rows: range | list[int]) -> int:
        return min(bisect_left(rows, self._cursor), len(rows) - 1)

    def _line(self, index: int, cells: int) -> Line:
        text, role, _ = self._lines[index]
        visible = text[self._left : self._left + cells]
        line = self._with_matches(visible, role) if self.search else [(visible, role)]
        if index != self._cursor:
            return line
        if not self.has_focus:
            return [(part, part_role if part_role == "key" else "bold") for part, part_role in line]
        return [*((part, "cursor") for part, _ in line), (" " * max(0, cells - width(line)), "cursor")]

    def _with_matches(self, text: str, role: str) -> Line:
        """The text with what is searched for in another style."""
        line: Line = []
        haystack = text if self.search != self.search.lower() else text.lower()
        start = 0
        while (found := haystack.find(self.search, start)) >= 0:
            end = found + len(self.search)
            line += [(text[start:found], role), (text[found:end], "key")]
            start = end
        return [*line, (text[start:], role)]

    # -- keys -----------------------------------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -self._page, "pagedown": self._page}
        steps |= {"home": -len(self._lines), "g": -len(self._lines), "end": len(self._lines), "G": len(self._lines)}
        sideways = {"left": -SIDEWAYS, "right": SIDEWAYS}
        if event.key in sideways:
            longest = max((len(line.text) for line in self._lines[self._top : self._top + self._page]), default=0)
            self._left = max(0, min(self._left + sideways[event.key], longest - SIDEWAYS))
        elif event.key in steps:
            self.move(steps[event.key])
        else:
            return
        self.update()
        event.stop()

    def move(self, rows: int) -> None:
        """Move the cursor down by `rows` of the lines shown (up if negative)."""
        indices = self._shown_indices()
        if indices:
            self._cursor = indices[max(0, min(len(indices) - 1, self._row_of_cursor(indices) + rows))]
            self._seen = len(self._lines) if self.is_following else self._seen

    def on_mouse_scroll_down(self) -> None:
        self.move(3)
        self.update()

    def on_mouse_scroll_up(self) -> None:
        self.move(-3)
        self.update()
