"""MinHash signatures: estimated similarity of documents (Broder 1997; b-bit MinHash: Li and König 2010).

Documents are compared by their five-word shingles in lower case. Text without spaces between words, such as Chinese,
counts as few long words, so that only copies with few changes are found in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIGNATURE_SIZE = 128
"""Hash values in a signature: the estimate of a similarity of 0.8 has a standard error of 0.035."""
_SHINGLE_WORDS = 5
_WORDS = re.compile(rb"[0-9a-z_\x80-\xff]+")
_ODD = np.uint64(0x9E3779B97F4A7C15)
_ROWS_AT_ONCE = 1024
"""rensa returns lists of Python integers, which take 40 bytes each."""


def minhash_signatures(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """(texts, 128) signatures, and (texts,) whether the text has words. A document's is the minimum of its parts'."""
    from rensa import RMinHash

    runs = [_shingles(text) for text in texts]
    made = np.empty((len(texts), SIGNATURE_SIZE), np.uint32)
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        piece = runs[start : start + _ROWS_AT_ONCE]
        offsets = np.concatenate([[0], np.cumsum([len(run) for run in piece])]).astype(np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(piece), offsets, SIGNATURE_SIZE, 1)
        made[start : start + _ROWS_AT_ONCE] = matrix.to_rows()
    return made, np.array([len(run) > 0 for run in runs], np.bool_)


def _shingles(text: str) -> NDArray[np.uint64]:
    """(shingles,) a hash of each run of five words; of all words if there are fewer."""
    from xxhash import xxh3_64_intdigest

    found = _WORDS.findall(text.lower().encode())
    words = np.fromiter(map(xxh3_64_intdigest, found), np.uint64, len(found))
    length = min(_SHINGLE_WORDS, len(words))
    count = len(words) - length + 1 if length else 0
    runs = np.zeros(count, np.uint64)
    for offset in range(length):
        runs = (runs * _ODD) + words[offset : offset + count]
    return runs ^ (runs >> np.uint64(31))


def short_signatures(signature: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """The low 16 bits of each value (b-bit MinHash): different values collide once in 65,536."""
    return (signature & np.uint32(0xFFFF)).astype(np.uint16)


def banding(similarity: float) -> tuple[int, int]:
    """(bands, rows of each) for locality-sensitive hashing: the widest bands of which two documents of that similarity
    share at least one with a probability of 0.9."""
    for width in range(SIGNATURE_SIZE, 0, -1):
        bands = SIGNATURE_SIZE // width
        if 1 - (1 - similarity**width) ** bands >= 0.9:
            return bands, width
    return SIGNATURE_SIZE, 1


def band_keys(signature: NDArray[np.uint16], similarity: float) -> NDArray[np.uint64]:
    """(documents, bands) keys; documents that share one are candidates for comparison."""
    bands, width = banding(similarity)
    numbers = signature[:, : bands * width].reshape(len(signature), bands, width).astype(np.uint64)
    key = np.zeros((len(signature), bands), np.uint64)
    for position in range(width):
        key = (key + numbers[:, :, position] + np.uint64(1)) * _ODD
        key ^= key >> np.uint64(29)
    key += np.arange(bands, dtype=np.uint64)[None, :] * np.uint64(0xD1B54A32D192ED03)
    key *= _ODD
    return key ^ (key >> np.uint64(32))
