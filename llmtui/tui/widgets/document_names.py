"""The list of documents beside the text of one."""

from __future__ import annotations

from typing import ClassVar

from llmtui.tui.widgets.list_pane import ListPane
from llmtui.view.lines import Line, cell
from llmtui.view.sanitize import shown

_MARGIN = 50
"""Documents whose names are known before and after the one shown."""


class NameList(ListPane[tuple[int, str]]):
    """Numbers and names of the documents around the one that is shown."""

    HELP: ClassVar[str] = "The documents of the corpus by number and name; the highlighted one is shown."
    documents = 0

    def clear(self) -> None:
        """Forget the names of another corpus."""
        self.documents = 0
        self.show_items(())

    def has_around(self, number: int) -> bool:
        """Whether the names before and after that of document `number` are known."""
        known = range(self.items[0][0], self.items[-1][0] + 1) if self.items else range(0)
        return max(0, number - _MARGIN) in known and min(self.documents - 1, number + _MARGIN) in known

    def heading(self, cells: int) -> Line:
        return [("documents", "title"), (f"  {self.documents:,}" if self.documents else "", "dim")]

    def key(self, item: tuple[int, str]) -> str:
        return str(item[0])

    def row(self, item: tuple[int, str], cells: int) -> Line:
        number = f"{item[0] + 1:>{len(str(self.documents))}}  "
        name = shown(item[1], 400)
        room = cells - len(number)
        if len(name) > room > 1:  # the end of a path distinguishes it better than its start
            name = "…" + name[-(room - 1) :]
        return [(number, "dim"), (cell(name, room), "")]
