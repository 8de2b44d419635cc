"""The clock of a training: seconds of work, without the time spent waiting at an emitted event."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from core.events import Event
from core.train.commands import Commands


class TrainingClock:
    """Counts seconds of training. The consumer of the events pauses the training by not taking the next one.

    now: a monotonic clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._started = 0.0

    def start(self, seconds: float) -> None:
        """Continue from `seconds` of training."""
        self._started = self._now() - seconds

    @property
    def seconds(self) -> float:
        return self._now() - self._started

    def emit(self, event: Event) -> Generator[Event, Commands | None, Commands]:
        """Yield `event`, and return the commands sent in. The time in between, which may be a pause, is not counted."""
        emitted = self._now()
        commands = yield event
        self._started += self._now() - emitted
        return commands or ()
