"""Statistics of lines in the finished shards: frequent ones, and those in both training and validation text."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray

from core.preprocess.shard_index import Array

BUDGET = 16 * 2**20
"""Bytes of training text in which lines are counted."""
EXCERPT = 120
"""Maximum characters of a line in the report."""
COMPARED = 2**18
"""Approximate number of lines that are compared between the splits."""
SHORTEST = 40
"""Minimum bytes of a compared line: shorter ones are equal by chance."""
_KEPT = 200
_ODD = np.uint64(0x9E3779B97F4A7C15)


class LineSample(Struct, kw_only=True):
    """Lines of one shard."""

    lines: list[tuple[str, int]] = []
    """The most frequent lines with their counts."""
    sampled: int = 0
    """Bytes of text in which they were counted."""
    compared: bytes = b""
    """64-bit hashes of the lines chosen for comparison; the choice depends on the text of the line alone."""


def sample_lines(batches: Sequence[pa.RecordBatch], seed: int, index: int, budget: int, rarity: int) -> LineSample:
    """Count lines in about `budget` bytes of rows sampled by `seed`; hash one of 2^`rarity` lines."""
    made = LineSample(lines=[])
    if budget:
        made.lines, made.sampled = _frequent(batches, random.Random(f"{seed} {index}"), budget)
    hashes = [_line_hashes(batch.column("text"), rarity) for batch in batches if len(batch)]
    made.compared = np.unique(np.concatenate([*hashes, np.zeros(0, np.uint64)])).tobytes()
    return made


def _frequent(batches: Sequence[pa.RecordBatch], dice: random.Random, budget: int) -> tuple[list[tuple[str, int]], int]:
    counts: Counter[str] = Counter()
    ends = list(accumulate(map(len, batches)))
    rows = array("I", range(ends[-1] if ends else 0))
    dice.shuffle(rows)
    left = budget
    for row in rows:
        if left <= 0:
            break
        at = bisect_right(ends, row)
        text = batches[at].column("text")[row - ends[at]].as_py()[:left]  # at most the rest of the budget
        left -= len(text.encode())
        counts.update(_excerpt(line) for raw_line in text.split("\n") if (line := raw_line.strip()))
    return most_frequent(counts, _KEPT), budget - left


def _excerpt(line: str) -> str:
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…"


def most_frequent(counts: Counter[str], number: int) -> list[tuple[str, int]]:
    """The most frequent lines; equally frequent ones in alphabetical order."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:number]


def _line_hashes(texts: pa.StringArray, rarity: int) -> NDArray[np.uint64]:
    """Hashes of the lines chosen by their eight bytes in the middle, which is fast."""
    from xxhash import xxh3_64_intdigest

    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    if offsets[-1] == offsets[0]:
        return np.zeros(0, np.uint64)
    data = np.frombuffer(texts.buffers()[2], np.uint8)[: offsets[-1]]
    ends = np.flatnonzero(data[offsets[0] :] == 10) + offsets[0]
    # a stable sort merges two sorted runs fast; equal borders give an empty line
    borders = np.sort(np.concatenate([offsets, ends + 1]), kind="stable")
    start, end = borders[:-1], borders[1:]
    end = end - (data[np.maximum(end, 1) - 1] == 10)
    long = end - start >= SHORTEST
    start, end = start[long], end[long]
    middle = (start + end) // 2
    word = np.zeros(len(start), np.uint64)
    for position in range(8):
        word |= data[middle + position - 4].astype(np.uint64) << np.uint64(8 * position)
    word = (word ^ (word >> np.uint64(32))) * _ODD
    chosen = np.flatnonzero(word >> np.uint64(64 - rarity) == 0) if rarity else np.arange(len(start))
    hashes = (xxh3_64_intdigest(data[start[at] : end[at]].tobytes().strip()) for at in chosen.tolist())
    return np.fromiter(hashes, np.uint64, len(chosen))


def rarity_of(size: int) -> int:
    """The `rarity` for which about `COMPARED` lines of a corpus of `size` bytes are compared."""
    return max(0, (size // 60 // COMPARED).bit_length())


class LineStatistics:
    """Line samples of all shards, merged."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.sampled = 0
        self._hashes: dict[str, Array] = {side: np.zeros(0, np.uint64) for side in ("train", "validation")}

    def add(self, side: str, sample: LineSample) -> None:
        """Add the sample of one shard."""
        self._counts.update(dict(sample.lines))
        self.sampled += sample.sampled
        if len(self._counts) > 20 * _KEPT:
            self._counts = Counter(dict(most_frequent(self._counts, 10 * _KEPT)))
        self._hashes[side] = np.union1d(self._hashes[side], np.frombuffer(sample.compared, np.uint64))

    def frequent(self, number: int) -> list[tuple[str, int]]:
        """The most frequent lines that occur at least twice, with their counts."""
        return [pair for pair in most_frequent(self._counts, number) if pair[1] > 1]

    def leaked_lines(self) -> tuple[int, int]:
        """Number of distinct validation lines compared, and how many of them occur in the training text."""
        validation = self._hashes["validation"]
        return len(validation), int(np.isin(validation, self._hashes["train"]).sum())
