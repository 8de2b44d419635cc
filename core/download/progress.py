"""How far a data stage is: what it tells while it works, and where it goes on after a break."""

from __future__ import annotations

import time
from typing import Literal

from core.events import Progress
from core.storage.artifact import Facts, Staging

EVERY = 0.15
"""Seconds between two words about progress: quick enough to pause and stop at, slow enough for a journal."""


class Meter:
    """Counts what is done and says so now and then."""

    def __init__(self, total: float | None, unit: Literal["bytes", "documents", "tokens"] = "bytes") -> None:
        self.total, self.unit = total, unit
        self.done = 0.0
        self._told = time.monotonic()

    def advance(self, amount: float) -> tuple[Progress, ...]:
        """Count `amount` more; the Progress to yield, or nothing when the last was a moment ago."""
        return self.reach(self.done + amount)

    def reach(self, done: float) -> tuple[Progress, ...]:
        """As `advance`, for who knows how much is done altogether."""
        self.done = float(done)  # numpy's floats are no JSON
        return (self.now(),) if time.monotonic() - self._told >= EVERY else ()

    def now(self) -> Progress:
        """How far it is at this moment."""
        self._told = time.monotonic()
        # bytes that are not UTF-8 grow when they are replaced
        done = self.done if self.total is None else min(self.done, self.total)
        return Progress(done=done, total=self.total, unit=self.unit)


def shard_name(stem: str, index: int, suffix: str) -> str:
    """`train-00003.parquet`: sorts by index up to 100,000 shards."""
    return f"{stem}-{index:05d}.{suffix}"


def published_shards(out: Staging, stem: str, suffix: str) -> tuple[int, Facts | None]:
    """How many shards of `stem` an earlier attempt left without a gap, and the facts of the last of them."""
    count, facts = 0, None
    while (name := shard_name(stem, count, suffix)) in out.published:
        count, facts = count + 1, out.published[name].facts
    return count, facts
