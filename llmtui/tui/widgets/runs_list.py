"""The list of runs, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len

from core.plural import plural
from core.runs.directory import UNREADABLE, RunState
from core.runs.errors import InvalidRunError
from llmtui.tui.widgets.list_pane import ListPane
from llmtui.view import run_text
from llmtui.view.lines import Line, cell, clip
from llmtui.view.run_columns import DEFAULT, GAP, Column, find_column, fitting, sorted_runs
from llmtui.view.run_filter import RunFilter, parse_filter
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown

HEADINGS_FROM = 24
"""Terminal rows from which the columns have headings; in lower ones each figure has its label."""

MARK = "◆ "
"""Before the name of a run that is marked for the Compare screen."""


class RunsList(ListPane[RunSnapshot]):
    """Runs in columns; damaged ones below them. After a change of its settings call `rearrange`."""

    HELP: ClassVar[str] = (
        "Your runs with their state and figures. Keys act on the highlighted one, which is also what the other "
        "screens show."
    )

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._all: list[RunSnapshot] = []
        self._unreadable: Sequence[InvalidRunError] = ()
        self.filter_text = ""
        self.filter: RunFilter = parse_filter("")
        self.column_names: tuple[str, ...] = ()
        """Empty: the default ones."""
        self.sort = ""
        """Name of the column; empty: newest first."""
        self.reverse = False
        self.archived = False
        """Whether archived runs are listed, too."""
        self.trials = False
        """Whether trials of studies that have ended are listed without a filter."""
        self.marked: frozenset[str] = frozenset()
        """Ids of the runs marked for the Compare screen."""
        self._columns: list[Column] = []
        """Those that any listed run has a value in."""
        self._fitting: list[Column] = []
        self._labelled = False
        self._names = 0
        """Cells of the longest name."""

    def show(self, snapshots: list[RunSnapshot], unreadable: Sequence[InvalidRunError] | None = None) -> None:
        """Show new snapshots; the cursor stays on its run. unreadable: damaged ones, listed below the others."""
        self._unreadable = self._unreadable if unreadable is None else unreadable
        self._all = snapshots
        self.rearrange()

    def rearrange(self) -> None:
        """Filter and sort the runs."""
        listed = sorted_runs([snapshot for snapshot in self._all if self.lists(snapshot)], self.sort, self.reverse)
        chosen = [column for name in self.column_names or DEFAULT if (column := find_column(name))]
        # one whose values come and go while a run is active stays, so that the others do not jump
        stay = self._columns if any(snapshot.state.is_active for snapshot in listed) else []
        self._columns = [
            column
            for column in chosen
            if column in stay or any(column.value(snapshot) not in (None, ()) for snapshot in listed)
        ]
        self._names = max((cell_len(run_text.name(snapshot)) for snapshot in listed), default=0)
        self.show_items(listed)

    def lists(self, snapshot: RunSnapshot) -> bool:
        """Whether the run is listed."""
        if snapshot.annotations.archived and not self.archived:
            return False
        return self.filter.matches(snapshot) and not self._is_hidden_trial(snapshot)

    def _is_hidden_trial(self, snapshot: RunSnapshot) -> bool:
        """Whether it is a trial of a study that has ended: there may be hundreds. The highlighted run is listed."""
        if self.trials or self.filter_text or snapshot.run.file.study is None:
            return False
        return not snapshot.state.is_active and self.key(snapshot) != self._cursor

    def set_filter(self, text: str) -> None:
        """List only runs that match `text`, as far as it is valid."""
        self.filter_text, self.filter = text, parse_filter(text)
        self.rearrange()

    @property
    def archived_count(self) -> int:
        """Number of archived runs."""
        return sum(snapshot.annotations.archived for snapshot in self._all)

    # -- drawing --------------------------------------------------------------------------------------------------

    def heading(self, cells: int) -> Line:
        alive = sum(snapshot.state.is_active for snapshot in self._all)
        hidden = 0 if self.archived else self.archived_count
        counts = f"  {len(self._all) - hidden}" + (f", {alive} active" if alive else "")
        if self.filter_text:
            counts = f"  {len(self.items)} of {len(self._all) - hidden} with “{shown(self.filter_text, 200)}”"
        counts += f", {hidden} archived" if hidden else ""
        trials = sum(self._is_hidden_trial(snapshot) for snapshot in self._all)
        counts += f", {plural(trials, 'trial')} hidden" if trials else ""
        column = find_column(self.sort) if self.sort else None
        order = f"  by {column.heading}" if column else ""
        if self.reverse:
            order += ", reversed" if order else "  oldest first"
        return [("runs", "title"), (counts, "dim"), (order, "dim")]

    def lines(self, cells: int, height: int) -> list[Line]:
        unreadable = [_unreadable_row(error, cells) for error in self._unreadable]
        unreadable = unreadable[: height // 3 if self.items else height]
        self._labelled = self.app.size.height < HEADINGS_FROM
        names = self._name_cells(cells)
        self._fitting = fitting(self._columns, cells - 2 - names, labelled=self._labelled)
        headings = [] if self._labelled or not self.items else [self._headings(names)]
        self.header_rows = len(headings)
        rows = self.window(cells, height - len(unreadable) - len(headings)) if self.items else self.placeholder(cells)
        return headings + rows + unreadable

    def placeholder(self, cells: int) -> list[Line]:
        if self.filter_text:
            return [[("No run matches the filter. Esc shows them all.", "dim")]]
        if any(map(self._is_hidden_trial, self._all)):
            return [[("All runs are trials of studies. z shows them.", "dim")]]
        return [[("All runs are archived. A shows them.", "dim")]] if self.archived_count else []

    def key(self, item: RunSnapshot) -> str:
        return item.run.id

    def _name_cells(self, cells: int) -> int:
        names = self._names + (len(MARK) if self.marked else 0)
        return min(max(names, len("name↑")), max(10, cells // 4))

    def _headings(self, names: int) -> Line:
        sorted_by = find_column(self.sort) if self.sort else None
        line: Line = [("  " + cell(self._marked("name", "name", sorted_by), names), "dim")]
        for column in self._fitting:
            text = self._marked(column.name, column.heading, sorted_by)
            line.append((" " * GAP + cell(text, column.cells, right=column.right), "dim"))
        return line

    def _marked(self, name: str, heading: str, sorted_by: Column | None) -> str:
        """The heading, with an arrow if the runs are sorted by it: ↑ the smallest first."""
        if sorted_by is None or sorted_by.name != name:
            return heading
        return heading + ("↓" if sorted_by.largest_first != self.reverse else "↑")

    def row(self, item: RunSnapshot, cells: int) -> Line:
        glyph, _, role = run_text.state(item)
        name_role = "dim" if item.annotations.archived else "bold"
        mark = MARK if item.run.id in self.marked else " " * len(MARK) if self.marked else ""
        line: Line = [(f"{glyph} ", role), (cell(mark + run_text.name(item), self._name_cells(cells)), name_role)]
        failed = item.state in (RunState.FAILED, RunState.INTERRUPTED) and item.summary.evaluation is None
        for column in self._fitting:
            if failed and column.name not in ("state", "step"):
                continue
            text = column.text(item)
            if self._labelled and text:
                text = column.labelled.format(text)
            aligned = cell(text, column.width(self._labelled), right=column.right)
            line += [(" " * GAP, ""), (aligned, role if column.name == "state" else column.role)]
        return clip([*line, (" " * GAP + run_text.failure(item)[0], "dim")] if failed else line, cells)


def _unreadable_row(error: InvalidRunError, cells: int) -> Line:
    """A run directory that cannot be read: why, and what to do."""
    todo = error.todo.replace(f" {error.run}`", "`")  # its name is in the row
    reason = f"{UNREADABLE}: {shown(error.what)}; {shown(todo)}"
    return clip([("✗ ", "bad"), (shown(error.run, max(10, cells // 3)), "bold"), ("  ", ""), (reason, "dim")], cells)
