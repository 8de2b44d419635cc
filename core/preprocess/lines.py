"""Runs of lines that stood before: how they are known again, and taken out.

A window is a number of lines in a row that are not blank, within one part of a document. Lines are compared without
the white space at their ends. What is taken out takes the blank lines behind it along.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.preprocess.shard_index import Array

SHORTEST = 10
"""Characters of the average line, newline included, below which a text is left alone: columns of numbers, not language.
It also bounds what has to be remembered of a shard."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


def line_hashes(text: str) -> NDArray[np.uint64]:
    """64 bits for each line that is not blank."""
    from xxhash import xxh3_64_intdigest

    lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
    return np.fromiter((xxh3_64_intdigest(line.encode()) for line in lines), np.uint64, len(lines))


def comparable(text: str) -> NDArray[np.uint64]:
    """As `line_hashes`; none at all where lines are so short that they are the same by chance."""
    return line_hashes(text) if len(text) >= SHORTEST * text.count("\n") else np.zeros(0, np.uint64)


def windows(hashes: Sequence[NDArray[np.uint64]], window: int) -> tuple[NDArray[np.uint64], Array, Array]:
    """Of the lines of each row: keys of all windows, the line each begins with, the row it is in.

    Lines are numbered through all rows.
    """
    counts = np.array([len(lines) for lines in hashes], np.int64)
    lines = np.concatenate([*hashes, np.zeros(0, np.uint64)])
    total = max(0, len(lines) - window + 1)
    key = np.zeros(total, np.uint64)
    for offset in range(window):
        key = (key * _ODD) + lines[offset : offset + total]
    key ^= key >> np.uint64(32)
    key *= _ODD
    key ^= key >> np.uint64(29)
    row = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)
    start = np.arange(total, dtype=np.uint32)
    inside = row[:total] == row[window - 1 : window - 1 + total]
    return key[inside], start[inside], row[:total][inside]


def covered(starts: Array, window: int, total: int) -> NDArray[np.bool_]:
    """(total,) which lines belong to one of the windows that begin at `starts`."""
    change = np.zeros(total + 1, np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, np.minimum(starts + window, total), -1)
    inside: NDArray[np.bool_] = np.cumsum(change)[:total] > 0
    return inside


def without(text: str, gone: NDArray[np.bool_]) -> str:
    """`text` without those of its lines that are not blank for which `gone` says so, and blank ones behind them."""
    if not gone.any():
        return text
    verdicts = iter(gone.tolist())
    kept, removing = [], False
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if line and not line.isspace():
            removing = next(verdicts)
            keep = not removing
        else:
            # an empty last piece is no line but the newline at the end
            keep = not removing or index == len(lines) - 1
        if keep:
            kept.append(line)
    return "\n".join(kept)
