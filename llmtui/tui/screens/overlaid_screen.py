"""Other runs laid over the curves of the one shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from core.runs.directory import Run
from llmtui.tui.screens.annotated_screen import AnnotatedScreen
from llmtui.tui.theming import RUN_COLORS
from llmtui.view import run_text
from llmtui.view.history import History
from llmtui.view.loss_unit import LossUnit


class OverlaidScreen(AnnotatedScreen):
    """A screen about a run that other runs can be laid over; each has a number and the colour of that number."""

    def on_mount(self) -> None:
        self._overlays: dict[str, int] = {}
        """By id of a run laid over the one shown, its number."""

    @property
    def history(self) -> History | None:
        """The history of the run shown, once its journal is being read."""
        history, snapshot = self.session.watcher.history, self.snapshot
        return history if history and snapshot and history.run.id == snapshot.run.id else None

    def redraw(self) -> None:
        """Draw the screen again after a change of what the charts show."""
        raise NotImplementedError

    def other_histories(self) -> list[tuple[int, History]]:
        """The runs laid over the one shown, each with its number; those that it branches from have the number 0."""
        shown_id = self.history.run.id if self.history else ""
        runs = {s.run.id: s.run for s in self.session.watcher.snapshots}
        self._overlays = {name: number for name, number in self._overlays.items() if name in runs}  # else deleted
        numbers = dict.fromkeys(ancestors(shown_id, runs), 0) | self._overlays
        numbers.pop(shown_id, None)
        found = self.session.watcher.overlay(runs[name] for name in numbers)
        return sorted(((numbers[other.run.id], other) for other in found), key=lambda pair: pair[0])

    def action_chart_overlay(self) -> None:
        from llmtui.tui.screens.picker import Choice
        from llmtui.tui.screens.toggles import Toggles

        snapshots = [s for s in self.session.watcher.snapshots if not self.snapshot or s.run.id != self.snapshot.run.id]
        if not snapshots:
            self.show_notice("There is no other run to compare with.", "warn")
            return

        def toggle(name: str) -> Iterable[str]:
            if name in self._overlays:
                del self._overlays[name]
            elif len(self._overlays) < RUN_COLORS:
                self._overlays[name] = min(set(range(1, RUN_COLORS + 1)) - set(self._overlays.values()))
            return self._overlays

        choices = [
            Choice(s.run.id, s.run.name, " ".join(filter(None, [run_text.state(s)[1], run_text.val(s.summary)])))
            for s in snapshots
        ]
        title = f"Runs to lay over {self.snapshot.run.name if self.snapshot else 'it'}, up to {RUN_COLORS}"
        self.app.push_screen(Toggles(title, choices, self._overlays, toggle), lambda _: self.redraw())


def ancestors(run_id: str, runs: Mapping[str, Run]) -> list[str]:
    """Ids of the runs that a run branches from, directly or not, as far as they exist; the parent first."""
    found: list[str] = []
    run = runs.get(run_id)
    while run is not None and run.parent is not None:
        run = runs.get(run.parent.run)
        if run is None or run.id in found:  # files can say that two runs are branches of each other
            break
        found.append(run.id)
    return found


def set_unit(histories: list[History], unit: LossUnit) -> None:
    """Give the losses of all `histories` one unit: nats per token if one of them has no bits per byte."""
    known = all(history.curves.bits_per_nat is not None for history in histories)
    for history in histories:
        history.chosen_unit = unit if known or unit is not LossUnit.BITS else LossUnit.NATS
