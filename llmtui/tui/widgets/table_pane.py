"""A table with a cursor, scrolled sideways where it is wider than the pane."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from llmtui.tui.widgets.list_pane import ListPane
from llmtui.view.data_table import DataTable, TableRow
from llmtui.view.lines import Line, wrap


class TablePane(ListPane[TableRow]):
    """The rows of a `DataTable`, and below them a sentence about the highlighted one."""

    HELP: ClassVar[str] = (
        "A row for each run; those that differ only in the seed share one, with their mean. ★ marks the best value of "
        "a column, ≈ a difference that is within the spread of seeds. The sentence below is about the highlighted row."
    )

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._table = DataTable()
        self._title: Line = []
        self._explain: Callable[[str], str] = lambda _: ""
        self._scrolled = 0
        """Columns to the left of those shown, without the frozen ones."""
        self._shown: list[int] = []

    def show(self, table: DataTable, title: Line, explain: Callable[[str], str]) -> None:
        """Show another table; the cursor stays on its row. explain: a sentence about the row with that key, or
        about an empty table."""
        self._table, self._title, self._explain = table, title, explain
        self.show_items(table.rows)

    @property
    def rows_wanted(self) -> int:
        """Rows of the screen it takes in full, with its border."""
        return len(self.items) + 1 + len(self._sentence) + (2 if self.boxed else 1)

    @property
    def _sentence(self) -> list[str]:
        return list(wrap(self._explain(self._cursor), max(1, self.inner_size[0])))[:2]

    def scroll_columns(self, columns: int) -> None:
        """Scroll to the right by `columns`, to the left if negative."""
        self._scrolled = max(0, self._scrolled + columns)
        self.update()

    def heading(self, width: int) -> Line:
        line, hidden = list(self._title), len(self._table.columns) - len(self._shown)
        if hidden:
            left, right = self._scrolled, hidden - self._scrolled
            line.append((f"  {f'← {left} ' if left else ''}{f'{right} → ' if right else ''}columns", "dim"))
        return line

    def key(self, item: TableRow) -> str:
        return item.key

    @property
    def copied(self) -> str:
        """The highlighted row with the headings of its columns, and the sentence about it."""
        item = self.highlighted
        if item is None:
            return ""
        pairs = zip(self._table.columns, item.cells, strict=True)
        values = "; ".join(f"{column.heading} {text.strip()}" for column, (text, _) in pairs if text.strip())
        return f"{values}\n{self._explain(item.key)}"

    def row(self, item: TableRow, cells: int) -> Line:
        return self._table.line(item, self._shown)

    def lines(self, cells: int, height: int) -> list[Line]:
        self._scrolled = min(self._scrolled, self._table.last_scroll(cells)) if self.items else 0
        self._shown = self._table.shown(self._scrolled, cells)
        self.header_rows = 1
        below: list[Line] = [[(line, "dim")] for line in self._sentence]
        if self.items and height <= 6 and len(self.items) + 1 + len(below) > height:  # no row is left out for it
            below = []
        if not self.items:
            return below
        rows = self.window(cells, height - 1 - len(below))
        return [self._table.headings(self._shown), *rows, *below]
