"""MinHash signatures: how alike two documents are, from 128 numbers of each (Broder 1997; Li and König 2010).

Documents are compared by their runs of five words in lower case. What stands without spaces between words, such as
Chinese, counts as few long words, so only copies with few changes are found there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NUMBERS = 128
"""Numbers in a signature: an estimated similarity of 0.8 has a standard error of 0.035."""
_RUN = 5
_WORDS = re.compile(rb"[0-9a-z_\x80-\xff]+")
_ODD = np.uint64(0x9E3779B97F4A7C15)
_ROWS_AT_ONCE = 1024
"""The library hands out lists of Python numbers, which take 40 bytes each."""


def signatures(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """(texts, 128) signatures, and (texts,) whether there are words at all. Those of parts join by their minimum."""
    from rensa import RMinHash

    runs = [_runs(text) for text in texts]
    made = np.empty((len(texts), NUMBERS), np.uint32)
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        piece = runs[start : start + _ROWS_AT_ONCE]
        offsets = np.concatenate([[0], np.cumsum([len(run) for run in piece])]).astype(np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(piece), offsets, NUMBERS, 1)
        made[start : start + _ROWS_AT_ONCE] = matrix.to_rows()
    return made, np.array([len(run) > 0 for run in runs], np.bool_)


def _runs(text: str) -> NDArray[np.uint64]:
    """A hash of each run of five words; of all words, where there are fewer."""
    from xxhash import xxh3_64_intdigest

    found = _WORDS.findall(text.lower().encode())
    words = np.fromiter(map(xxh3_64_intdigest, found), np.uint64, len(found))
    length = min(_RUN, len(words))
    count = len(words) - length + 1 if length else 0
    runs = np.zeros(count, np.uint64)
    for offset in range(length):
        runs = (runs * _ODD) + words[offset : offset + count]
    return runs ^ (runs >> np.uint64(31))


def short(signature: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """16 bits of each number are enough to compare: two that differ look alike once in 65,536."""
    return (signature & np.uint32(0xFFFF)).astype(np.uint16)


def banding(similarity: float) -> tuple[int, int]:
    """(bands, numbers in each): the widest bands of which two documents just so similar share one 9 times of 10."""
    for width in range(NUMBERS, 0, -1):
        bands = NUMBERS // width
        if 1 - (1 - similarity**width) ** bands >= 0.9:
            return bands, width
    return NUMBERS, 1


def band_keys(signature: NDArray[np.uint16], similarity: float) -> NDArray[np.uint64]:
    """(documents, bands) keys that two documents share when they agree in a whole band: worth comparing."""
    bands, width = banding(similarity)
    numbers = signature[:, : bands * width].reshape(len(signature), bands, width).astype(np.uint64)
    key = np.zeros((len(signature), bands), np.uint64)
    for place in range(width):
        key = (key + numbers[:, :, place] + np.uint64(1)) * _ODD
        key ^= key >> np.uint64(29)
    key += np.arange(bands, dtype=np.uint64)[None, :] * np.uint64(0xD1B54A32D192ED03)
    key *= _ODD
    return key ^ (key >> np.uint64(32))
