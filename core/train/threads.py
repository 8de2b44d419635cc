"""How many CPU threads a training uses: fewer while other processes are busy, where that is faster.

The threads of one matrix product wait for each other, so that one thread which has to share its core delays all: next
to one busy process two threads on two cores are slower than one. Which number is faster is measured, for a second at a
time; the CPU time of other processes says when measuring is worthwhile.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import psutil
import torch

from core.recipe.schema import Train
from core.train.schedule import limits

WINDOW_SECONDS = 1.0
"""Minimum duration of the steps that are compared."""
WINDOW_STEPS = 3
"""Minimum number of them. One more comes first: after a change it has to start its threads."""
MIN_SPEEDUP = 1.1
"""Speedup from which another number of threads is taken: the load varies, and so does the speed."""
IGNORED_CORES = 0.25
"""Cores that other processes may use without effect: a system is never quite idle."""
RETRY_SECONDS, MAX_RETRY_SECONDS = 10.0, 160.0
"""Time until the next trial after one that was not faster; doubled each time up to the maximum."""


class CpuTimes(NamedTuple):
    """Readings of three clocks, in seconds."""

    wall: float
    busy: float
    """CPU time of all processes on all cores."""
    own: float
    """CPU time of this process."""

    def cores_used_by_others(self, before: CpuTimes) -> float:
        """Average number of cores that other processes have used since `before`."""
        taken = (self.busy - before.busy) - (self.own - before.own)
        return max(0.0, taken / max(self.wall - before.wall, 1e-9))


def cpu_times() -> CpuTimes:
    """The readings now; takes 0.1 ms."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # on Linux `user` includes the time of guests
    busy = sum(times) - idle - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return CpuTimes(time.monotonic(), busy, time.process_time())


def make_thread_tuner(recipe: Train, device: str, world_size: int) -> ThreadTuner | None:
    """A tuner for a training on `device`; None if its number of threads must not change.

    A training limited by time is not reproducible anyway; the others are, to the bit.
    """
    free = recipe.threads is None and "minutes" in limits(recipe)
    threads = torch.get_num_threads()
    return ThreadTuner(threads, cpu_times()) if device == "cpu" and world_size == 1 and free and threads > 1 else None


class ThreadTuner:
    """Decides after each step how many threads the next one uses. most: number of cores."""

    def __init__(self, most: int, now: CpuTimes) -> None:
        self.most = self.threads = most
        self._trial_of: tuple[int, float] | None = None
        """During a trial: the number of threads before it, and the seconds per step with that number."""
        self._retry_seconds, self._next_trial = RETRY_SECONDS, -math.inf
        self._free_cores = most
        """Cores left by other processes in the last window. A window in which that changes is a mixture."""
        self._start_window(now)

    def _start_window(self, now: CpuTimes) -> None:
        self._window_start, self._seconds, self._steps = now, 0.0, -1

    def record_step(self, seconds: float, now: CpuTimes) -> bool:
        """Count a step of `seconds` that ended at `now`. Returns whether a trial has just shown a speedup."""
        self._steps += 1
        if self._steps == 0:  # the first step with this number of threads
            self._window_start = now
            return False
        self._seconds += seconds
        if self._seconds < WINDOW_SECONDS or self._steps < WINDOW_STEPS:
            return False
        seconds_per_step, others = self._seconds / self._steps, now.cores_used_by_others(self._window_start)
        self._start_window(now)
        if self._trial_of is not None:
            return self._finish_trial(seconds_per_step, now.wall)
        free = self.most - math.ceil(others - IGNORED_CORES)
        before, self._free_cores = self._free_cores, max(1, min(self.most, free))
        if self._free_cores == before != self.threads and now.wall >= self._next_trial:
            self._trial_of, self.threads = (self.threads, seconds_per_step), before
        return False

    def _finish_trial(self, seconds_per_step: float, wall: float) -> bool:
        assert self._trial_of is not None
        (threads, before), self._trial_of = self._trial_of, None
        if seconds_per_step * MIN_SPEEDUP <= before:
            self._retry_seconds = RETRY_SECONDS
            return True
        self.threads = threads
        self._next_trial = wall + self._retry_seconds
        self._retry_seconds = min(MAX_RETRY_SECONDS, 2 * self._retry_seconds)
        return False

    def message(self) -> str:
        """The note for the number of threads now in use."""
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        if self.threads == self.most:
            return f"the processor is free again: the training takes {threads}"
        return f"others use the processor: the training takes {threads} of {self.most}, which is faster beside them"
