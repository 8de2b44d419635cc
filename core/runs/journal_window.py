"""The steps of a part of a long run, read from its journal: `curves.json` has 1,024 buckets for the whole run."""

from __future__ import annotations

import contextlib
import os
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from core.runs.series import CAPACITY, Series

SAMPLES = 256
"""Positions of a journal at which its step is read, to find the bytes of a window."""

MAX_BYTES = 2**25
"""The longest part of a journal that is read: 150,000 steps, in half a second of a slow core."""

_CHUNK = 2**20
_METRIC, _RESUMED = b'{"type":"Metric"', b'{"type":"Resumed"'
_SHORTEST = 100
"""Bytes that the line of a step has at least."""


class _Metric(Struct, tag_field="type", tag="Metric", gc=False):
    """The fields of `core.events.Metric` that are drawn."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: float
    seconds: float


class _Resumed(Struct, tag_field="type", tag="Resumed", gc=False):
    step: int


_decode_metric = msgspec.json.Decoder(_Metric).decode
_decode_resumed = msgspec.json.Decoder(_Resumed).decode


class StepWindow:
    """The steps from `first` to `last` of a run. `read` fills it, `extend` adds what the run has written since."""

    def __init__(self, journal: Path, first: int, last: int) -> None:
        self.first, self.last = first, last
        self._journal = journal
        self._steps: array[int] = array("q")
        self._values = {name: array("d") for name in ("loss", "lr", "grad_norm", "tokens", "seconds")}
        self._speed_steps: array[int] = array("q")
        self._speeds = array("d")
        self._offset = 0
        self.at_end = False
        """Whether the newest steps of the run are among those of the window."""
        self.series: dict[str, Series] = {}
        """By their names in `core.runs.curves.Curves`: loss, lr, grad_norm, speed, tokens, seconds."""

    def read(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Read the steps; False if that was stopped, if there are none or if they take more than `MAX_BYTES`.

        stop: asked after each MiB. Raises OSError.
        """
        with self._journal.open("rb", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            start, end = self._byte_range(file, size)
            if end - start > MAX_BYTES:
                return False
            self._offset, self.at_end = start, end == size
            while self._offset < end and not stop():
                self._read_chunk(file, min(_CHUNK, end - self._offset))
        if self._offset < end and not self.at_end:
            return False
        self._update()
        return len(self._steps) > 0 and not stop()

    def extend(self) -> None:
        """Read what was appended to the journal since. Raises OSError."""
        if self.at_end:
            with self._journal.open("rb", buffering=0) as file:
                before = -1
                while self._offset != before:
                    before = self._offset
                    self._read_chunk(file, _CHUNK)
            self._update()

    def _byte_range(self, file: BinaryIO, size: int) -> tuple[int, int]:
        """Where the lines of the window begin and end, or somewhat earlier and later."""
        offsets = [(0, -1), *_offsets(file, size)]
        ends = [*offsets[1:], (size, None)]
        found = [
            (start, end)
            for (start, low), (end, high) in zip(offsets, ends, strict=True)
            if self._may_overlap(low, high, (end - start) // _SHORTEST)
        ]
        return (found[0][0], found[-1][1]) if found else (0, 0)

    def _may_overlap(self, low: int, high: int | None, lines: int) -> bool:
        """Whether a part of the journal from step `low` to `high`, of at most so many lines, may have such steps."""
        if high is None:
            return low <= self.last
        # the run may have been resumed in between: it continued from `low`, and later came to `high`
        parts = (low, max(high, low + lines)), (high - lines, high)
        return any(first <= self.last and self.first <= last for first, last in parts)

    def _read_chunk(self, file: BinaryIO, size: int) -> None:
        file.seek(self._offset)
        data = file.read(size)
        end = data.rfind(b"\n") + 1
        if not end and len(data) == size:  # a line longer than the chunk
            data += file.read(_CHUNK)
            end = data.rfind(b"\n") + 1
        self._offset += end
        for line in data[:end].split(b"\n"):
            if line.startswith(_METRIC):
                self._add(line)
            elif line.startswith(_RESUMED):
                try:
                    self._forget_from(_decode_resumed(line).step + 1)
                except msgspec.MsgspecError:
                    continue

    def _add(self, line: bytes) -> None:
        try:
            metric = _decode_metric(line)
        except msgspec.MsgspecError:
            return
        steps, values = self._steps, self._values
        if steps and metric.step <= steps[-1]:
            self._forget_from(metric.step)
        if not self.first - 1 <= metric.step <= self.last:
            return
        if steps:
            seconds = metric.seconds - values["seconds"][-1]
            if seconds > 0:
                self._speed_steps.append(metric.step)
                self._speeds.append((metric.tokens - values["tokens"][-1]) / seconds)
        steps.append(metric.step)
        for name, column in values.items():
            column.append(getattr(metric, name))

    def _forget_from(self, step: int) -> None:
        index = bisect_left(self._steps, step)
        del self._steps[index:]
        for column in self._values.values():
            del column[index:]
        index = bisect_left(self._speed_steps, step)
        del self._speed_steps[index:], self._speeds[index:]

    def _update(self) -> None:
        span = 1
        while (self.last - self.first) // span > CAPACITY - 2:
            span *= 2
        series = {name: Series.of_columns(self._steps, values, span) for name, values in self._values.items()}
        self.series = series | {"speed": Series.of_columns(self._speed_steps, self._speeds, span)}


def _offsets(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """(offset, step) of steps at about equal distances in the journal."""
    before = 0
    for number in range(1, SAMPLES):
        start = size * number // SAMPLES
        file.seek(start)
        data = file.read(4096)
        at = data.find(b"\n" + _METRIC)
        end = data.find(b"\n", at + 1)
        if at < 0 or end < 0 or start + at + 1 <= before:
            continue
        try:
            step = _decode_metric(data[at + 1 : end]).step
        except msgspec.MsgspecError:
            continue
        before = start + at + 1
        yield before, step
    yield from _last_offset(file, size, before)


def _last_offset(file: BinaryIO, size: int, before: int) -> Iterator[tuple[int, int]]:
    """(offset, step) of the last step, if it comes after `before`."""
    start = max(before, size - 2**16)
    file.seek(start)
    data = file.read(size - start)
    at = data.rfind(b"\n" + _METRIC, 0, data.rfind(b"\n"))
    if at >= 0:
        with contextlib.suppress(msgspec.MsgspecError):
            yield start + at + 1, _decode_metric(data[at + 1 : data.find(b"\n", at + 1)]).step
