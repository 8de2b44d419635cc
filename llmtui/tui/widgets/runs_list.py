"""The list of runs, a line each."""

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

    class Pointed(Message):
        """The cursor is on another run."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._all: list[RunSnapshot] = []
        self._shown: list[RunSnapshot] = []
        self._broken: Sequence[InvalidRunError] = ()
        self.wanted = ""
        """Only runs whose name contains this."""
        self._cursor = ""
        self._top = 0
        self._page = 1

    @property
    def current(self) -> RunSnapshot | None:
        """The run under the cursor."""
        return next((snapshot for snapshot in self._shown if snapshot.run.id == self._cursor), None)

    def point_at(self, run_id: str) -> None:
        """Put the cursor on that run."""
        if run_id and run_id != self._cursor:
            self._cursor = run_id
            self.update()

    def show(self, snapshots: list[RunSnapshot], broken: Sequence[InvalidRunError] | None = None) -> None:
        """Take the newest picture; the cursor stays on its run. broken: those that cannot be read, below the others."""
        place = self._place()
        self._broken = self._broken if broken is None else broken
        self._all = snapshots
        self._shown = [snapshot for snapshot in snapshots if self.shows(snapshot)]
        if self.current is None and self._shown:
            self._cursor = self._shown[min(place, len(self._shown) - 1)].run.id
            self.post_message(self.Pointed())
        self.update()

    def shows(self, snapshot: RunSnapshot) -> bool:
        """Whether the filter lets it through."""
        return self.wanted.lower() in snapshot.run.name.lower()

    def filter(self, wanted: str) -> None:
        """Show only runs whose name contains `wanted`."""
        self.wanted = wanted
        self.show(self._all)

    def _place(self) -> int:
        return next((i for i, snapshot in enumerate(self._shown) if snapshot.run.id == self._cursor), 0)

    def heading(self, width: int) -> Line:
        alive = sum(snapshot.state.is_active for snapshot in self._all)
        counts = f"  {len(self._all)}" + (f", {alive} at work" if alive else "")
        if self.wanted:
            counts = f"  {len(self._shown)} of {len(self._all)} with “{self.wanted}”"
        return [("runs", "title"), (counts, "dim")]

    def lines(self, width: int, height: int) -> list[Line]:
        if not self._shown and self.wanted:
            return [[(f"No run's name contains “{self.wanted}”. Esc shows them all.", "dim")]]
        broken = [_broken_row(trouble, width) for trouble in self._broken][: height if not self._shown else height // 3]
        height -= len(broken)
        place = self._place()
        self._page = max(1, height)
        self._top = max(0, min(self._top, place, len(self._shown) - height))  # no blank rows below, ever
        self._top = max(self._top, place - height + 1)
        window = self._shown[self._top : self._top + height]
        names = max((len(run_text.name(snapshot)) for snapshot in self._shown), default=0)
        states = max((len(run_text.state(snapshot)[1]) for snapshot in self._shown), default=0)
        names = min(names, max(10, width // 4))
        rows = [_row(snapshot, names, states, width) for snapshot in window]
        if self._shown:
            rows[place - self._top] = self._marked(rows[place - self._top], width)
        return rows + broken

    def _marked(self, row: Line, cells: int) -> Line:
        text = "".join(part for part, _ in row)
        return [(cell(text, cells), "cursor")] if self.has_focus else [(text, "bold")]

    def on_key(self, event: events.Key) -> None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -self._page, "pagedown": self._page}
        steps |= {"home": -len(self._shown), "g": -len(self._shown), "end": len(self._shown), "G": len(self._shown)}
        if event.key in steps and self._shown:
            place = max(0, min(len(self._shown) - 1, self._place() + steps[event.key]))
            self._cursor = self._shown[place].run.id
            self.post_message(self.Pointed())
            self.update()
            event.stop()

    def on_click(self, event: events.Click) -> None:
        row = event.y - 1 + self._top
        if 0 <= row < len(self._shown):
            self._cursor = self._shown[row].run.id
            self.post_message(self.Pointed())
            self.update()


def _broken_row(trouble: InvalidRunError, cells: int) -> Line:
    """A run directory that cannot be read: why, and what can be done."""
    told = f"{UNREADABLE}  {shown(trouble.todo)}: {shown(trouble.what)}"
    return clip([("✗ ", "bad"), (shown(trouble.run, max(10, cells // 3)), "bold"), ("  ", ""), (told, "dim")], cells)


def _row(snapshot: RunSnapshot, names: int, states: int, cells: int) -> Line:
    """One run: state, name, then as many figures as fit, the most telling first."""
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
    room = cells - width(line)
    kept: set[int] = set()
    for i, (_, need) in enumerate(figures):
        if need + 2 <= room:
            kept.add(i)
            room -= need + 2
    for i in order:
        if i in kept:
            line += [("  ", ""), (figures[i][0], "dim" if i in (2, 4) else "")]
    return line
