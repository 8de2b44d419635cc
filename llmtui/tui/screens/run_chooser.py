"""A dialog that chooses the runs to compare, found by the filter of the list of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from llmtui.tui.screens.picker import Choice
from llmtui.tui.screens.toggles import Toggles
from llmtui.view import run_text, units
from llmtui.view.comparison import MAX_RUNS
from llmtui.view.run_filter import parse_filter
from llmtui.view.run_snapshot import RunSnapshot

_ALL, _PROBLEM = "*", "!"
"""Values of lines that are no run; a run's id has neither character."""


class RunChooser(Toggles):
    """Runs with a mark each; the first line marks all that are listed. The filter is that of Home."""

    def __init__(
        self, snapshots: Sequence[RunSnapshot], chosen: Iterable[str], choose: Callable[[tuple[str, ...]], None]
    ) -> None:
        """chosen: ids of the marked runs. choose: called with them after each change."""
        self._snapshots = {snapshot.run.id: snapshot for snapshot in snapshots}
        self._ids = tuple(name for name in chosen if name in self._snapshots)
        self._choose = choose
        choices = [
            Choice(
                name, run_text.name(s), "  ".join(filter(None, [run_text.val(s.summary), units.clock(s.run.made_at)]))
            )
            for name, s in self._snapshots.items()
        ]
        super().__init__(f"Runs to compare, up to {MAX_RUNS}", choices, self._ids, self._switched)

    def matching(self, text: str) -> Sequence[Choice]:
        terms = parse_filter(text)
        self._listed = [name for name, snapshot in self._snapshots.items() if terms.matches(snapshot)]
        found = [choice for choice in self._choices if choice.value in self._listed]
        problems = [Choice(_PROBLEM, terms.problems[0])] if terms.problems else []
        several = [Choice(_ALL, f"  all {len(found)} listed")] if len(found) > 1 else []
        return [*problems, *several, *found]

    def _switched(self, value: str) -> Iterable[str]:
        if value == _ALL:
            missing = [name for name in self._listed if name not in self._ids]
            kept = self._ids if missing else tuple(name for name in self._ids if name not in self._listed)
            self._ids = (*kept, *missing)
        elif value in self._ids:
            self._ids = tuple(name for name in self._ids if name != value)
        elif value in self._snapshots:
            self._ids = (*self._ids, value)
        self._ids = self._ids[:MAX_RUNS]
        self._choose(self._ids)
        return self._ids
