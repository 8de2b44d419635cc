"""Tables wider than the screen: the first columns stay, the others are scrolled sideways."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import msgspec
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


class DataTable:
    """Columns and rows."""

    def __init__(self, columns: Sequence[TableColumn] = (), rows: Sequence[TableRow] = (), frozen: int = 0) -> None:
        """frozen: how many of the first columns stay."""
        self.columns, self.rows, self.frozen = columns, rows, frozen

    @cached_property
    def widths(self) -> list[int]:
        """Cells of each column."""
        return [
            min(WIDEST, max(cell_len(text) for text in (column.heading, *(row.cells[n][0] for row in self.rows))))
            for n, column in enumerate(self.columns)
        ]

    def shown(self, scrolled: int, cells: int) -> list[int]:
        """The indices of the columns that fit into `cells` cells: the frozen ones, and others after `scrolled` of
        those."""
        widths, kept = self.widths, list[int]()
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
        widths = self.widths
        parts = [cell(self.columns[n].heading, widths[n], right=self.columns[n].right) for n in shown]
        return [((" " * GAP).join(parts), "dim")]

    def line(self, row: TableRow, shown: Sequence[int]) -> Line:
        """The line of `row`."""
        widths, line = self.widths, Line()
        for n in shown:
            text, role = row.cells[n]
            line += [(" " * GAP, "")] if line else []
            line.append((cell(text, widths[n], right=self.columns[n].right), role))
        return line


def table_csv(table: DataTable) -> str:
    """A line of headings, and one for each row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.heading for column in table.columns])
    writer.writerows([text for text, _ in row.cells] for row in table.rows)
    return out.getvalue()


def table_json(table: DataTable) -> bytes:
    """An array with an object for each row: its texts by the names of the columns."""
    names = [column.name for column in table.columns]
    return msgspec.json.encode([dict(zip(names, (text for text, _ in row.cells), strict=True)) for row in table.rows])
