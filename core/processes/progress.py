"""How far a stage is, as Progress events at a bounded rate."""

from __future__ import annotations

import time
from typing import Literal

from core.events import Progress

PROGRESS_INTERVAL = 0.15
"""Seconds between two Progress events: short enough to pause and stop at, long enough for a journal."""


class ProgressMeter:
    """Counts what is done and reports it at most once in `PROGRESS_INTERVAL`."""

    def __init__(self, total: float | None, unit: Literal["bytes", "documents", "tokens"] = "bytes") -> None:
        """total: in `unit`; None where it is unknown."""
        self.total, self.unit = total, unit
        self.done = 0.0
        self._last_report = time.monotonic()

    def advance(self, amount: float) -> tuple[Progress, ...]:
        """Count `amount` more; the Progress to yield, or nothing when the last one was a moment ago."""
        return self.advance_to(self.done + amount)

    def advance_to(self, done: float) -> tuple[Progress, ...]:
        """As `advance`, with the new total of what is done."""
        self.done = float(done)  # NumPy's floats are not JSON
        return (self.report(),) if time.monotonic() - self._last_report >= PROGRESS_INTERVAL else ()

    def report(self) -> Progress:
        """The Progress at this moment."""
        self._last_report = time.monotonic()
        # invalid UTF-8 grows when it is replaced
        done = self.done if self.total is None else min(self.done, self.total)
        return Progress(done=done, total=self.total, unit=self.unit)
