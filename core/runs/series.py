"""Curves of millions of points in buckets of 2^k steps, so that points already plotted do not move."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from msgspec import Struct

CAPACITY = 1024
"""Maximum number of buckets; beyond it they are merged in pairs. A chart of 200 cells has 400 columns of dots."""

LARGEST = 1e30
"""Values from here on are treated as infinite: no axis can show them together with others."""

LAST_STEP = 2**40
"""Larger steps are damage: at a million steps per second this one is reached after twelve days."""


class Series(Struct, kw_only=True, eq=False):
    """One quantity over steps. Values that are not finite leave a gap and are remembered in `broken`.

    eq: compared by identity, since charts cache what they have plotted of each.
    """

    span: int = 1
    """Steps in one bucket, a power of two."""
    index: list[int] = []
    """Bucket numbers, rising: bucket i holds the steps from i * span on."""
    low: list[float] = []
    high: list[float] = []
    total: list[float] = []
    count: list[int] = []
    broken: list[int] = []
    """The first step in every `gap` steps whose value is not finite."""
    gap: int = 1
    last: float | None = None
    end: int = 0
    """The largest step seen."""
    revised: int = 0
    """How often buckets other than the last one have changed."""

    @classmethod
    def of_columns(cls, steps: Sequence[int], values: Sequence[float], span: int) -> Series:
        """The series of `values` at `steps`, which rise, in buckets of `span` steps: ten times as fast as `add`."""
        series, start = cls(span=span), 0
        while start < len(steps):
            number = steps[start] // span
            end = bisect_left(steps, (number + 1) * span, start)
            bucket: Sequence[float] = values[start:end]
            total = sum(bucket)
            if not abs(total) < LARGEST:  # NaN, too
                for step, value in zip(steps[start:end], bucket, strict=True):
                    if not abs(value) < LARGEST:
                        series._break(step)
                bucket = [value for value in bucket if abs(value) < LARGEST]
                total = sum(bucket)
            if bucket:
                series.index.append(number)
                series.low.append(min(bucket))
                series.high.append(max(bucket))
                series.total.append(total)
                series.count.append(len(bucket))
                series.last = bucket[-1]
            series.end = max(series.end, steps[end - 1])
            start = end
        return series

    def __len__(self) -> int:
        return len(self.index)

    def add(self, step: int, value: float) -> None:
        """Add a value. Steps must increase, except after `truncate_after`."""
        if not 0 <= step < LAST_STEP:
            return
        self.end = max(self.end, step)
        if not abs(value) < LARGEST:
            self._break(step)
            return
        self.last = value
        number = step // self.span
        if self.index and self.index[-1] == number:
            if value < self.low[-1]:
                self.low[-1] = value
            if value > self.high[-1]:
                self.high[-1] = value
            self.total[-1] += value
            self.count[-1] += 1
            return
        self.index.append(number)
        self.low.append(value)
        self.high.append(value)
        self.total.append(value)
        self.count.append(1)
        if len(self.index) > CAPACITY:
            self._halve()

    def _break(self, step: int) -> None:
        if self.broken and self.broken[-1] // self.gap == step // self.gap:
            return
        self.broken.append(step)
        if len(self.broken) > CAPACITY:
            self.gap *= 2
            firsts = {at // self.gap: at for at in reversed(self.broken)}
            self.broken = list(reversed(firsts.values()))

    def _halve(self) -> None:
        """Merge buckets in pairs."""
        self.revised += 1
        self.span *= 2
        index, low, high, total, count = self.index, self.low, self.high, self.total, self.count
        self.index, self.low, self.high, self.total, self.count = [], [], [], [], []
        for i, number in enumerate(index):
            if self.index and self.index[-1] == number // 2:
                self.low[-1] = min(self.low[-1], low[i])
                self.high[-1] = max(self.high[-1], high[i])
                self.total[-1] += total[i]
                self.count[-1] += count[i]
            else:
                self.index.append(number // 2)
                self.low.append(low[i])
                self.high.append(high[i])
                self.total.append(total[i])
                self.count.append(count[i])

    def truncate_after(self, step: int) -> None:
        """Remove the values after `step`, from which a run was resumed.

        The bucket that contains `step` is kept if at least half of it is before `step`.
        """
        self.revised += 1
        while self.index and self.index[-1] * self.span + self.span // 2 > step:
            for column in (self.index, self.low, self.high, self.total, self.count):
                column.pop()
        self.broken = [at for at in self.broken if at <= step]
        self.end = min(self.end, step)
        self.last = self.total[-1] / self.count[-1] if self.index else None

    def means(self, start: int = 0, stop: int | None = None) -> list[tuple[float, float]]:
        """(step, mean) of each bucket from the one numbered `start` on, or up to the one before `stop`."""
        half = (self.span - 1) / 2
        return [
            (number * self.span + half, total / count)
            for number, total, count in zip(
                self.index[start:stop], self.total[start:stop], self.count[start:stop], strict=True
            )
        ]

    def smoothed(self, beta: float, scale: Callable[[float], float], back: Callable[[float], float]) -> list[float]:
        """Exponential moving average, one value a bucket, started without bias towards zero (Adam's correction).

        beta: weight of the past, per step. scale, back: the average is taken in the plotted scale, else a
        logarithmic axis would show a curve that lies above its points.
        """
        smooth, weight, out = 0.0, 0.0, []
        for total, count in zip(self.total, self.count, strict=True):
            keep = beta**count
            smooth = keep * smooth + (1 - keep) * scale(total / count)
            weight = keep * weight + (1 - keep)
            out.append(back(smooth / weight))
        return out
