"""Forecasts of the final losses of trials that train, computed at intervals in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from core.runs.curves import Curves
from core.storage.workspace import Workspace
from core.tune.curve_fit import Interval
from core.tune.forecast import earlier_curves, forecast_final
from core.tune.trials import Trial
from llmtui.view.run_snapshot import RunSnapshot

PERIOD = 10.0
"""Seconds between two forecasts of a trial, each of which takes 0.2 s of the processor."""


class Forecaster:
    """Keeps the forecasts between two calls."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, int, Interval | None]] = {}
        """By run id: when it was forecast, after how many of its events, and the forecast."""
        self._done: dict[str, Curves] = {}
        """Of trials that are done, by run id."""
        self._lock = threading.Lock()

    def update(self, runs: Sequence[RunSnapshot], trials: Sequence[Trial], workspace: Workspace) -> dict[str, Interval]:
        """The forecasts of those of `runs` that have enough of a curve, by id. For any thread.

        trials: all of the study that `runs` are of.
        """
        with self._lock:
            by_run = {trial.run_id: trial for trial in trials}
            self._done = {run_id: curves for run_id, curves in self._done.items() if run_id in by_run}
            known = {run.run.id: self._known[run.run.id] for run in runs if run.run.id in self._known}
            for snapshot in runs:
                at, events, _ = known.get(snapshot.run.id, (-PERIOD, -1, None))
                if events != snapshot.summary.events and time.monotonic() - at >= PERIOD:
                    trial = by_run.get(snapshot.run.id)
                    earlier = earlier_curves(trial, trials, workspace, self._done) if trial else []
                    final = _final(snapshot, earlier)
                    known[snapshot.run.id] = time.monotonic(), snapshot.summary.events, final
            self._known = known
            return {run_id: final for run_id, (_, _, final) in known.items() if final}


def _final(snapshot: RunSnapshot, earlier: Sequence[Curves]) -> Interval | None:
    try:
        found = forecast_final(snapshot.run.curves(), snapshot.run.recipe.train.evaluate_tokens, earlier)
    except OSError:  # deleted meanwhile
        return None
    return found.final if found else None
