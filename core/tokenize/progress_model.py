"""Progress of the tokenize stage, linear in time although its parts differ in speed."""

from __future__ import annotations

import math
import time

from core.events import Progress
from core.processes.progress import ProgressMeter

# Cost per byte relative to encoding it with BPE. Measured on two cores with 64 MB of English: 1.9 s to encode
# them, 7.0 s to count their words; then 0.8 s until merging begins, and to merge 0.6 s for 4,096 entries, 1.7 s
# for 16,384, 2.6 s for 65,536.
COUNT_COST = 3.7
"""Cost per byte of reading the training sample and counting its words."""
SCAN_COST = 0.2
"""Cost per byte of collecting the characters of a text."""


def merging_work(sample: float, size: int) -> float:
    """Work of merging up to `size` entries, after a sample of `sample` bytes was counted; in bytes encoded."""
    return sample * (0.42 + 0.12 * math.log2(max(1.0, size / 256)))


class TokenizeProgress:
    """Adds up the work of training a vocabulary and encoding, and reports it scaled to the bytes of the text."""

    def __init__(self, text: int, *, training: float = 0.0, merging_work: float = 0.0) -> None:
        """text: bytes to encode. training, merging_work: work before that, in units of one byte encoded."""
        self._training, self._merging = training, merging_work
        self._scale = text / max(1.0, text + training + merging_work)
        self.meter = ProgressMeter(float(text))
        self._done = 0.0
        self._began: float | None = None
        self._counted: float | None = None

    def add_training_work(self, work: float) -> tuple[Progress, ...]:
        """Add `work` of counting words, in units of one byte encoded."""
        self._began = self._began or time.monotonic()
        return self._reach(min(self._training, self._done + work))

    def start_merging(self) -> None:
        """Counting is done, merging starts; `estimate_merging` extrapolates its progress from the time of counting."""
        self._done = self._training
        self._counted = time.monotonic()

    def estimate_merging(self) -> None:
        """Update the progress during merging, which reports none."""
        if self._counted is None or self._began is None or not self._training:
            return
        pace = (self._counted - self._began) / self._training  # seconds per unit of work
        passed = (time.monotonic() - self._counted) / max(pace, 1e-9)
        self._reach(self._training + min(self._merging, passed))

    def start_encoding(self, encoded: int) -> None:
        """The vocabulary is ready; `encoded` bytes of text were encoded by an earlier attempt or elsewhere."""
        self._done = self._training + self._merging + encoded
        self.meter.done = self._done * self._scale

    def add_encoded(self, size: int) -> tuple[Progress, ...]:
        """Add `size` bytes of encoded text."""
        return self._reach(self._done + size)

    def complete(self) -> Progress:
        """The last progress event: all work is done."""
        self.meter.done = self.meter.total or 0
        return self.meter.report()

    def _reach(self, done: float) -> tuple[Progress, ...]:
        self._done = done
        return self.meter.advance_to(done * self._scale)
