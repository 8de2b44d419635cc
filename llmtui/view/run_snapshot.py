"""The state of one run at one moment, as lists and screens show it."""

from __future__ import annotations

from typing import NamedTuple

from core.runs.directory import Run, RunState
from core.runs.failure import Failure
from core.runs.summary import Summary


class RunSnapshot(NamedTuple):
    """The state of one run."""

    run: Run
    state: RunState
    summary: Summary
    failure: Failure | None
    """Why it failed or was interrupted."""
    over_at: float
    """Seconds since the epoch when its last attempt ended; 0 while it is active or if unknown."""
    silent: float
    """Seconds since an active run wrote to its journal, if that is too long ago; else 0."""
    ending: bool = False
    """Whether it has written its last event while its processes are still running."""
    queue_place: int = 0
    """1 for the first of the runs that wait for a device; 0 for a run that does not wait."""
