"""How many threads of the processor a training takes: fewer while others have the cores, where that is faster.

The threads of one matrix product wait for each other, so that one which has to share its core holds up all: beside
one busy neighbour two threads on two cores are slower than one alone. Which number is faster is measured, for a
second at a time; when it is worth measuring is seen from what others take of the processor.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import psutil

WINDOW = 1.0
"""Seconds of steps that are compared, at least."""
STEPS = 3
"""Steps in them, at least. One more comes before: the first with another number of threads has to start them."""
FASTER = 1.1
"""How many times as fast another number has to be to be taken: others come and go, and so does the speed."""
SPARE = 0.25
"""Cores that others may take without counting: systems are never quite idle."""
WAIT, LONGEST = 10.0, 160.0
"""Seconds until the next try after one that was not faster, doubled with each up to the longest."""


class Load(NamedTuple):
    """Seconds so far, as clocks that only differences are taken of."""

    wall: float
    busy: float
    """All processors together, with everybody."""
    own: float
    """Of `busy`, this process."""

    def others(self, before: Load) -> float:
        """Cores that others have taken since `before`."""
        taken = (self.busy - before.busy) - (self.own - before.own)
        return max(0.0, taken / max(self.wall - before.wall, 1e-9))


def load() -> Load:
    """The machine's clocks at this moment; takes 0.1 ms."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # on Linux `user` has in it what guests take
    busy = sum(times) - idle - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return Load(time.monotonic(), busy, time.process_time())


class Threads:
    """Decides after each step with how many threads the next one is made. most: cores there are."""

    def __init__(self, most: int, at: Load) -> None:
        self.most = self.now = most
        self._before: tuple[int, float] | None = None
        """While another number is tried: the one it is tried instead of, and seconds a step took with that."""
        self._wait, self._next_try = WAIT, -math.inf
        self._wanted = most
        """By what others took in the last window: when they come within one, it is of both kinds."""
        self._begin(at)

    def _begin(self, at: Load) -> None:
        self._since, self._seconds, self._steps = at, 0.0, -1

    def after(self, seconds: float, at: Load) -> bool:
        """Count a step of `seconds` that ended at `at`. Whether another number than before was found to be faster."""
        self._steps += 1
        if self._steps == 0:  # the first with this number
            self._since = at
            return False
        self._seconds += seconds
        if self._seconds < WINDOW or self._steps < STEPS:
            return False
        pace, others = self._seconds / self._steps, at.others(self._since)
        self._begin(at)
        if self._before is not None:
            return self._decide(pace, at.wall)
        before, self._wanted = self._wanted, max(1, min(self.most, self.most - math.ceil(others - SPARE)))
        if self._wanted == before != self.now and at.wall >= self._next_try:
            self._before, self.now = (self.now, pace), before
        return False

    def _decide(self, pace: float, wall: float) -> bool:
        assert self._before is not None
        (number, before), self._before = self._before, None
        if pace * FASTER <= before:
            self._wait = WAIT
            return True
        self.now = number
        self._next_try, self._wait = wall + self._wait, min(LONGEST, 2 * self._wait)
        return False

    def words(self) -> str:
        """What to say of the number now taken."""
        threads = f"{self.now} thread{'s' * (self.now != 1)}"
        if self.now == self.most:
            return f"the processor is free again: the training takes {threads}"
        return f"others use the processor: the training takes {threads} of {self.most}, which is faster beside them"
