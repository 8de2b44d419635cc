"""Tables wider than the screen: the first columns stay, the others are scrolled sideways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

from llmtui.view.lines import Line, Span, cell

GAP = 2
"""Cells between columns."""

WIDEST = 24
"""Cells of the widest column; longer texts are cut."""


class TableColumn(NamedTuple):
    """One column."""

    name: str
    """Identifies it."""
    heading: str
    right: bool = True
    """Whether its cells are aligned to the right."""


class TableRow(NamedTuple):
    """One row, with a span for each column; sanitised."""

    key: str
    cells: tuple[Span, ...]


class DataTable(NamedTuple):
    """Columns and rows."""

    columns: Sequence[TableColumn] = ()
    rows: Sequence[TableRow] = ()
    frozen: int = 0
    """How many of the first columns stay."""

    def widths(self) -> list[int]:
        """Cells of each column."""
        return [
            min(WIDEST, max(cell_len(text) for text in (column.heading, *(row.cells[n][0] for row in self.rows))))
            for n, column in enumerate(self.columns)
        ]

    def shown(self, scrolled: int, cells: int) -> list[int]:
        """The indices of the columns that fit into `cells` cells: the frozen ones, and others after `scrolled` of
        those."""
        widths, kept = self.widths(), list[int]()
        for index in [*range(self.frozen), *range(self.frozen + scrolled, len(self.columns))]:
            need = widths[index] + (GAP if kept else 0)
            if need > cells and kept:
                break
            kept.append(index)
            cells -= need
        return kept

    def last_scroll(self, cells: int) -> int:
        """The smallest number of columns to scroll by from which the last column is shown."""
        last = len(self.columns) - 1
        most = max(0, last - self.frozen)
        return next((n for n in range(most) if last in self.shown(n, cells)), most)

    def headings(self, shown: Sequence[int]) -> Line:
        """The line of headings."""
        widths = self.widths()
        parts = [cell(self.columns[n].heading, widths[n], right=self.columns[n].right) for n in shown]
        return [((" " * GAP).join(parts), "dim")]

    def line(self, row: TableRow, shown: Sequence[int]) -> Line:
        """The line of `row`."""
        widths, line = self.widths(), Line()
        for n in shown:
            text, role = row.cells[n]
            line += [(" " * GAP, "")] if line else []
            line.append((cell(text, widths[n], right=self.columns[n].right), role))
        return line
