"""How far the tokenize stage is, so that its progress is linear in time though its parts differ in speed."""

from __future__ import annotations

import math
import time

from core.events import Progress
from core.processes.progress import ProgressMeter

# Work relative to encoding as many bytes with byte pairs. Measured on two cores with 64 MB of English: 1.9 s to encode
# them, 7.0 s to count what stands in them; then 0.8 s until merging begins, and to merge 0.6 s for 4,096 entries, 1.7 s
# for 16,384, 2.6 s for 65,536.
COUNTING = 3.7
"""The sample that merges are learned from, read and counted."""
SCANNING = 0.2
"""Text looked through for its characters."""


def merging(sample: float, size: int) -> float:
    """The work of merging up to `size` entries, once a sample of so many bytes is counted."""
    return sample * (0.42 + 0.12 * math.log2(max(1.0, size / 256)))


class Effort:
    """Counts work in its parts and tells it as bytes of the text, all of it together as many as the text has."""

    def __init__(self, text: int, *, learning: float = 0.0, merging: float = 0.0) -> None:
        """text: bytes to encode; learning, merging: the work before it, in units of a byte encoded."""
        self._learning, self._merging = learning, merging
        self._scale = text / max(1.0, text + learning + merging)
        self.meter = ProgressMeter(float(text))
        self._done = 0.0
        self._began: float | None = None
        self._counted: float | None = None

    def learned(self, work: float) -> tuple[Progress, ...]:
        """Count `work` of learning, in units of a byte encoded."""
        self._began = self._began or time.monotonic()
        return self._reach(min(self._learning, self._done + work))

    def merging(self) -> None:
        """All is counted; from now on `wait` guesses how far the merging is, from how long the counting took."""
        self._done = self._learning
        self._counted = time.monotonic()

    def wait(self) -> None:
        """Let time count while the merging says nothing."""
        if self._counted is None or self._began is None or not self._learning:
            return
        pace = (self._counted - self._began) / self._learning  # seconds a unit of work
        passed = (time.monotonic() - self._counted) / max(pace, 1e-9)
        self._reach(self._learning + min(self._merging, passed))

    def ready(self, encoded: int) -> None:
        """There is a vocabulary, and of the text `encoded` bytes were done before or elsewhere."""
        self._done = self._learning + self._merging + encoded
        self.meter.done = self._done * self._scale

    def encoded(self, size: int) -> tuple[Progress, ...]:
        """Count `size` bytes of text as encoded."""
        return self._reach(self._done + size)

    def complete(self) -> Progress:
        """All is done."""
        self.meter.done = self.meter.total or 0
        return self.meter.report()

    def _reach(self, done: float) -> tuple[Progress, ...]:
        self._done = done
        return self.meter.advance_to(done * self._scale)
