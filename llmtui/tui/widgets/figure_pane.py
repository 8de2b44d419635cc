"""A pane that draws what a function of `llmtui.view` returns for its size."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from llmtui.tui.widgets.pane import Pane
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
