"""A grid of tokens with a cursor, and a line about the token under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events

from llmtui.tui.widgets.pane import Pane
from llmtui.view.lines import Line, joined, wrap
from llmtui.view.token_grid import GridLine, GridToken, draw, layout, moved, rows_of


class TokenGrid(Pane, can_focus=True):
    """Tokens, wrapped to the width of the pane; longer ones scroll with the cursor."""

    HELP: ClassVar[str] = "A text as tokens. What is known about the token at the cursor stands beside or below it."
    KEYS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("← →, h", "The token before, after."),
        ("↑ ↓, j k", "The token above, below."),
        ("pgup pgdn", "By a page."),
        ("home end", "To the first token, to the last."),
    )

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.title: list[Line] = []
        """The parts of the title, of which those that fit are shown."""
        self.hint = ""
        """Shown while there are no tokens."""
        self.tokens: Sequence[GridToken] = ()
        self.numbers = True
        """Whether each token has its number below; otherwise the tokens are running text."""
        self.cursor = 0
        """Number of the token under the cursor."""
        self._top = 0
        """Number of the first line shown."""
        self._laid_out: tuple[object, ...] = ()
        self._grid: list[GridLine] = []
        self._page = 1
        """Lines that fit."""

    def show_tokens(self, tokens: Sequence[GridToken], *, cursor: int | None = None) -> None:
        """Replace the tokens. cursor: the token to move to; default: the cursor stays where it is."""
        self.tokens = tokens
        self.cursor = max(0, min(len(tokens) - 1, self.cursor if cursor is None else cursor))
        self.update()

    @property
    def copied(self) -> str:
        """What is known of the token under the cursor."""
        return self.tokens[self.cursor].detail if self.tokens else ""

    def heading(self, width: int) -> Line:
        return joined(self.title, width)

    def lines(self, width: int, height: int) -> list[Line]:
        if not self.tokens:
            return [[(part, "dim")] for part in wrap(self.hint, width)]
        state = (self.tokens, self.numbers, width)
        if not self._laid_out or self._laid_out[0] is not self.tokens or self._laid_out[1:] != state[1:]:
            self._laid_out, self._grid = state, layout(self.tokens, width, numbers=self.numbers)
        detail = wrap(self.tokens[self.cursor].detail, width) if height > 4 else ()
        details: list[Line] = [[(part, "accent")] for part in detail][: height // 2]
        rows = self._window(width, height - len(details))
        return [*rows, *([[]] * (height - len(rows) - len(details))), *details]

    def _window(self, width: int, height: int) -> list[Line]:
        """The rows of the lines around the cursor, which is always among them."""
        at = self._line_of_cursor()
        self._top = min(self._top, at)
        while self._top < at and sum(self._height_of(line) for line in self._grid[self._top : at + 1]) > height:
            self._top += 1
        # no blank rows below the last line
        while self._top and sum(self._height_of(line) for line in self._grid[self._top - 1 :]) <= height:
            self._top -= 1
        rows: list[Line] = []
        self._page = 0
        for line in self._grid[self._top :]:
            if len(rows) >= height:
                break
            rows += draw(self.tokens, line, width, numbers=self.numbers, cursor=self.cursor)
            self._page += 1
        self._page = max(1, self._page - 1)
        return rows[:height]

    def _height_of(self, line: GridLine) -> int:
        return rows_of(line, numbers=self.numbers)

    def _line_of_cursor(self) -> int:
        return next((at for at, line in enumerate(self._grid) if self.cursor < line.end), 0)

    def on_key(self, event: events.Key) -> None:
        rows = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -self._page, "pagedown": self._page}
        last = len(self.tokens) - 1
        to = {"left": self.cursor - 1, "h": self.cursor - 1, "right": self.cursor + 1, "home": 0, "end": last}
        if not self.tokens or not self._grid:
            return
        if event.key in rows:
            self._move(moved(self._grid, self.cursor, rows[event.key]), event)
        elif event.key in to:
            self._move(max(0, min(last, to[event.key])), event)

    def _move(self, token: int, event: events.Key) -> None:
        self.cursor = token
        self.update()
        event.stop()

    def on_mouse_scroll_down(self) -> None:
        self._scroll(1)

    def on_mouse_scroll_up(self) -> None:
        self._scroll(-1)

    def _scroll(self, rows: int) -> None:
        if self.tokens and self._grid:
            self.cursor = moved(self._grid, self.cursor, rows)
            self.update()
