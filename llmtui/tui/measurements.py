"""Sizes and training losses of runs, read off the event loop a few at a time, since they take milliseconds a run."""

from __future__ import annotations

import time
from collections.abc import Sequence

from core.runs.directory import Run
from llmtui.view.run_snapshot import Measurement, RunSnapshot, measure

PER_TICK = 16
"""Runs measured in one tick: a few percent of it."""

ACTIVE_SECONDS = 10.0
"""How long the measurement of an active run is shown: its worker writes curves.json as often."""


class Measurements:
    """The newest measurement of each run. `update` runs in a thread, the rest on the event loop."""

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self._known: dict[str, tuple[object, float, Measurement]] = {}
        """By run id: the state of the run then, `time.monotonic` then, and what was measured."""

    def added_to(self, snapshots: Sequence[RunSnapshot]) -> list[RunSnapshot]:
        """The snapshots with what is known of each."""
        return [
            snapshot.with_measurement(known[2]) if (known := self._known.get(snapshot.run.id)) else snapshot
            for snapshot in snapshots
        ]

    def update(self, snapshots: Sequence[RunSnapshot]) -> None:
        """Measure some of the runs that have changed, the first ones first."""
        ids = {snapshot.run.id for snapshot in snapshots}
        self._known = {run_id: known for run_id, known in self._known.items() if run_id in ids}
        outdated = [snapshot for snapshot in snapshots if self._is_outdated(snapshot)]
        for snapshot in outdated[:PER_TICK]:
            found = self._measured(snapshot.run)
            if found:
                self._known[snapshot.run.id] = (_version(snapshot), time.monotonic(), found)

    def _measured(self, run: Run) -> Measurement | None:
        try:
            return measure(run, self._smoothing)
        except OSError:  # deleted meanwhile
            return None

    def _is_outdated(self, snapshot: RunSnapshot) -> bool:
        if snapshot.run.id not in self._known:
            return True
        version, at, _ = self._known[snapshot.run.id]
        if snapshot.state.is_active:
            return time.monotonic() - at > ACTIVE_SECONDS
        return version != _version(snapshot)


def _version(snapshot: RunSnapshot) -> object:
    """Changes when a run has been active since."""
    return snapshot.state, snapshot.over_at, snapshot.summary.events
