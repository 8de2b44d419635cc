"""The list of runs, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.message import Message

from core.runs.directory import UNREADABLE, RunState
from core.runs.errors import InvalidRunError
from llmtui.tui.widgets.pane import Pane
from llmtui.view import run_text
from llmtui.view.lines import Line, cell, clip, width
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown


class RunsList(Pane, can_focus=True):
    """Runs, newest first, with a cursor."""

    class Highlighted(Message):
        """Posted when the cursor moved to another run."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._all: list[RunSnapshot] = []
        self._shown: list[RunSnapshot] = []
        self._unreadable: Sequence[InvalidRunError] = ()
        self.filter_text = ""
        """Only runs whose name contains it are listed."""
        self._cursor = ""
        self._top = 0
        self._page = 1

    @property
    def highlighted(self) -> RunSnapshot | None:
        """The run under the cursor."""
        return next((snapshot for snapshot in self._shown if snapshot.run.id == self._cursor), None)

    def highlight(self, run_id: str) -> None:
        """Move the cursor to that run."""
        if run_id and run_id != self._cursor:
            self._cursor = run_id
            self.update()

    def show(self, snapshots: list[RunSnapshot], unreadable: Sequence[InvalidRunError] | None = None) -> None:
        """Show new snapshots; the cursor stays on its run. unreadable: damaged ones, listed below the others."""
        index = self._index()
        self._unreadable = self._unreadable if unreadable is None else unreadable
        self._all = snapshots
        self._shown = [snapshot for snapshot in snapshots if self.matches(snapshot)]
        if self.highlighted is None and self._shown:
            self._cursor = self._shown[min(index, len(self._shown) - 1)].run.id
            self.post_message(self.Highlighted())
        self.update()

    def matches(self, snapshot: RunSnapshot) -> bool:
        """Whether its name contains the filter text."""
        return self.filter_text.lower() in snapshot.run.name.lower()

    def set_filter(self, text: str) -> None:
        """List only runs whose name contains `text`."""
        self.filter_text = text
        self.show(self._all)

    def _index(self) -> int:
        return next((i for i, snapshot in enumerate(self._shown) if snapshot.run.id == self._cursor), 0)

    def heading(self, width: int) -> Line:
        alive = sum(snapshot.state.is_active for snapshot in self._all)
        counts = f"  {len(self._all)}" + (f", {alive} active" if alive else "")
        if self.filter_text:
            counts = f"  {len(self._shown)} of {len(self._all)} with “{self.filter_text}”"
        return [("runs", "title"), (counts, "dim")]

    def lines(self, width: int, height: int) -> list[Line]:
        if not self._shown and self.filter_text:
            return [[(f"No run's name contains “{self.filter_text}”. Esc shows them all.", "dim")]]
        unreadable = [_unreadable_row(error, width) for error in self._unreadable][
            : height if not self._shown else height // 3
        ]
        height -= len(unreadable)
        index = self._index()
        self._page = max(1, height)
        self._top = max(0, min(self._top, index, len(self._shown) - height))  # no blank rows below the last run
        self._top = max(self._top, index - height + 1)
        window = self._shown[self._top : self._top + height]
        names = max((len(run_text.name(snapshot)) for snapshot in self._shown), default=0)
        states = max((len(run_text.state(snapshot)[1]) for snapshot in self._shown), default=0)
        names = min(names, max(10, width // 4))
        rows = [_row(snapshot, names, states, width) for snapshot in window]
        if self._shown:
            rows[index - self._top] = self._with_cursor(rows[index - self._top], width)
        return rows + unreadable

    def _with_cursor(self, row: Line, cells: int) -> Line:
        text = "".join(part for part, _ in row)
        return [(cell(text, cells), "cursor")] if self.has_focus else [(text, "bold")]

    def on_key(self, event: events.Key) -> None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -self._page, "pagedown": self._page}
        steps |= {"home": -len(self._shown), "g": -len(self._shown), "end": len(self._shown), "G": len(self._shown)}
        if event.key in steps and self._shown:
            index = max(0, min(len(self._shown) - 1, self._index() + steps[event.key]))
            self._cursor = self._shown[index].run.id
            self.post_message(self.Highlighted())
            self.update()
            event.stop()

    def on_click(self, event: events.Click) -> None:
        row = event.y - 1 + self._top
        if 0 <= row < len(self._shown):
            self._cursor = self._shown[row].run.id
            self.post_message(self.Highlighted())
            self.update()


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
