"""Windows of consecutive lines, for removing repeated passages of text.

A window is a number of consecutive lines that are not blank, within one part of a document. Lines are compared without
the white space at their ends. Blank lines after a removed line are removed, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.preprocess.shard_index import Array

SHORTEST = 10
"""Characters of the average line, including the newline, below which a text is skipped: columns of numbers. It also
bounds the memory per shard."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


def line_hashes(text: str) -> NDArray[np.uint64]:
    """(lines,) a 64-bit hash of each line that is not blank."""
    from xxhash import xxh3_64_intdigest

    lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
    return np.fromiter((xxh3_64_intdigest(line.encode()) for line in lines), np.uint64, len(lines))


def hashes_of_long_lines(text: str) -> NDArray[np.uint64]:
    """`line_hashes`, or an empty array if the lines are so short that they are equal by chance."""
    return line_hashes(text) if len(text) >= SHORTEST * text.count("\n") else np.zeros(0, np.uint64)


def line_windows(hashes: Sequence[NDArray[np.uint64]], window: int) -> tuple[NDArray[np.uint64], Array, Array]:
    """Keys, first lines and rows of all windows, each (windows,), given the line hashes of each row.

    Lines are numbered across all rows.
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


def lines_in_windows(starts: Array, window: int, total: int) -> NDArray[np.bool_]:
    """(total,) which lines are in one of the windows that begin at `starts`."""
    change = np.zeros(total + 1, np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, np.minimum(starts + window, total), -1)
    inside: NDArray[np.bool_] = np.cumsum(change)[:total] > 0
    return inside


def remove_lines(text: str, removed: NDArray[np.bool_]) -> str:
    """`text` without the lines in the mask `removed`, (lines that are not blank,), and the blank lines after them."""
    if not removed.any():
        return text
    verdicts = iter(removed.tolist())
    kept, removing = [], False
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if line and not line.isspace():
            removing = next(verdicts)
            keep = not removing
        else:
            # an empty last element stands for the newline at the end
            keep = not removing or index == len(lines) - 1
        if keep:
            kept.append(line)
    return "\n".join(kept)
