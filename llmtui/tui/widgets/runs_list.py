"""The list of runs, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from core.runs.directory import UNREADABLE, RunState
from core.runs.errors import InvalidRunError
from llmtui.tui.widgets.list_pane import ListPane
from llmtui.view import run_text
from llmtui.view.lines import Line, cell, clip, width
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown


class RunsList(ListPane[RunSnapshot]):
    """Runs, newest first; damaged ones below them."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._all: list[RunSnapshot] = []
        self._unreadable: Sequence[InvalidRunError] = ()
        self.filter_text = ""
        """Only runs whose name contains it are listed."""
        self._names = self._states = 0
        """Cells for the longest name and state."""

    def show(self, snapshots: list[RunSnapshot], unreadable: Sequence[InvalidRunError] | None = None) -> None:
        """Show new snapshots; the cursor stays on its run. unreadable: damaged ones, listed below the others."""
        self._unreadable = self._unreadable if unreadable is None else unreadable
        self._all = snapshots
        self.show_items([snapshot for snapshot in snapshots if self.matches(snapshot)])

    def matches(self, snapshot: RunSnapshot) -> bool:
        """Whether its name contains the filter text."""
        return self.filter_text.lower() in snapshot.run.name.lower()

    def set_filter(self, text: str) -> None:
        """List only runs whose name contains `text`."""
        self.filter_text = text
        self.show(self._all)

    def heading(self, cells: int) -> Line:
        alive = sum(snapshot.state.is_active for snapshot in self._all)
        counts = f"  {len(self._all)}" + (f", {alive} active" if alive else "")
        if self.filter_text:
            counts = f"  {len(self.items)} of {len(self._all)} with “{self.filter_text}”"
        return [("runs", "title"), (counts, "dim")]

    def lines(self, cells: int, height: int) -> list[Line]:
        if not self.items and self.filter_text:
            return [[(f"No run's name contains “{self.filter_text}”. Esc shows them all.", "dim")]]
        unreadable = [_unreadable_row(error, cells) for error in self._unreadable]
        unreadable = unreadable[: height // 3 if self.items else height]
        names = max((len(run_text.name(snapshot)) for snapshot in self.items), default=0)
        self._names = min(names, max(10, cells // 4))
        self._states = max((len(run_text.state(snapshot)[1]) for snapshot in self.items), default=0)
        return self.window(cells, height - len(unreadable)) + unreadable

    def key(self, item: RunSnapshot) -> str:
        return item.run.id

    def row(self, item: RunSnapshot, cells: int) -> Line:
        return _row(item, self._names, self._states, cells)


def _unreadable_row(error: InvalidRunError, cells: int) -> Line:
    """A run directory that cannot be read: why, and what to do."""
    reason = f"{UNREADABLE}  {shown(error.todo)}: {shown(error.what)}"
    return clip([("✗ ", "bad"), (shown(error.run, max(10, cells // 3)), "bold"), ("  ", ""), (reason, "dim")], cells)


def _row(snapshot: RunSnapshot, names: int, states: int, cells: int) -> Line:
    """One run: state, name, then as many figures as fit, the most important first."""
    glyph, word, role = run_text.state(snapshot)
    line: Line = [
        (f"{glyph} ", role),
        (cell(run_text.name(snapshot), names), "bold"),
        ("  ", ""),
        (cell(word, states), role),
    ]
    if snapshot.state in (RunState.FAILED, RunState.INTERRUPTED):
        step = run_text.step(snapshot)
        return clip([*line, (f"  {step}" if step else "", ""), (f"  {run_text.failure(snapshot)[0]}", "dim")], cells)
    share = run_text.share(snapshot.summary) if snapshot.state in (RunState.RUNNING, RunState.PAUSED) else None
    when = run_text.remaining(snapshot.summary) if snapshot.state is RunState.RUNNING else run_text.when(snapshot)
    figures = [
        (f"{run_text.percent(share) if share is not None else '':>7}", 7),
        (f"{run_text.val(snapshot.summary):<14}", 14),
        (f"{when:>13}", 13),
        (f"{run_text.speed(snapshot):>12}", 12),
        (f"{run_text.step(snapshot):<16}", 16),
    ]
    order = (4, 0, 1, 3, 2)
    free = cells - width(line)
    fitting: set[int] = set()
    for i, (_, need) in enumerate(figures):
        if need + 2 <= free:
            fitting.add(i)
            free -= need + 2
    for i in order:
        if i in fitting:
            line += [("  ", ""), (figures[i][0], "dim" if i in (2, 4) else "")]
    return line
