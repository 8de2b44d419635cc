"""Panes that draw what a function of `llmtui.view` returns for their size."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from llmtui.tui.widgets.pane import Pane, ScrollPane
from llmtui.view.lines import Line

Drawing = Callable[[int, int], list[Line]]
"""Cells and rows to lines."""


class FigurePane(Pane):
    """Title and content are set by `show`."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._title: Line = []
        self._drawing: Drawing | None = None

    def show(self, title: Line, drawing: Drawing) -> None:
        """Show this title and this drawing."""
        self._title, self._drawing = title, drawing
        self.update()

    def heading(self, width: int) -> Line:
        return self._title

    def lines(self, width: int, height: int) -> list[Line]:
        return self._drawing(width, height) if self._drawing else []


class FigureBar(FigurePane):
    """The same without a border."""

    FRAMED: ClassVar[bool] = False


class ScrollFigure(ScrollPane):
    """The same for content that may be longer than the pane."""

    HELP: ClassVar[str] = (
        "How each run compares with the baseline, whether other seeds differ as much, and what else is not the same: "
        "length, code, PyTorch, machine, device and data. Numbers in brackets are those of the runs."
    )

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._title: Line = []
        self._drawing: Callable[[int], list[Line]] | None = None

    def show(self, title: Line, drawing: Callable[[int], list[Line]]) -> None:
        """Show this title and what `drawing` returns for a number of cells."""
        self._title, self._drawing = title, drawing
        self.update()

    def heading(self, width: int) -> Line:
        below = self._length - self._scrolled - self.inner_size[1]
        return [*self._title, (f"  {below} more ↓" if below > 0 else "", "dim")]

    def content(self, width: int) -> list[Line]:
        return self._drawing(width) if self._drawing else []
