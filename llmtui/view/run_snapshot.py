"""One run at one moment, as lists and screens show it."""

from __future__ import annotations

from typing import NamedTuple

from core.runs.directory import Run, RunState
from core.runs.failure import Failure
from core.runs.summary import Summary


class RunSnapshot(NamedTuple):
    """One run as lists show it."""

    run: Run
    state: RunState
    summary: Summary
    failure: Failure | None
    """Why it failed or was interrupted."""
    over_at: float
    """Seconds since the epoch when its last attempt ended; 0 while it lives or where nobody knows."""
    silent: float
    """Seconds since a living run had news, once that is too long; else 0."""
    ending: bool = False
    """It has said its last word, and its processes are about to go."""
