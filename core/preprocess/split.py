"""Choice of the text that is held out for validation."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import LlmtuiError
from core.events import TextSize
from core.preprocess.shard_index import Array
from core.recipe.schema import Preprocess

SMALLEST_SIDE = 256
"""Minimum bytes of each split: a validation loss on less is meaningless."""
_AUTO_DOCUMENTS = 20
_MISSES = 1000
"""Consecutive texts that were too large for the remaining budget, after which the search ends."""

Side = Literal["train", "validation"]


class CorpusTooSmallError(LlmtuiError):
    """The corpus is too small to hold out some of it."""

    doing = "split the corpus"


class Split(NamedTuple):
    """How the clean text is divided into training and validation."""

    by_document: bool
    below: int = 0
    """Documents with a smaller key are held out."""
    others: NDArray[np.uint64] = np.zeros(0, np.uint64)
    """So are those with one of these keys, sorted."""
    tail: int = 0
    """If not by document: bytes of clean text before the tail, which is held out."""
    slack: int = 0
    """Bytes by which the tail may begin earlier, to begin with a line."""

    def holds_out(self, key: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """(keys,) which documents with these keys are held out."""
        chosen: NDArray[np.bool_] = (key < np.uint64(self.below)) | np.isin(key, self.others)
        return chosen


def split_key(seed: int, digest: bytes) -> int:
    """64-bit key of a document, a hash of the seed and its digest; documents with the smallest keys are held out."""
    return int.from_bytes(blake2b(digest, digest_size=8, key=str(seed).encode()).digest(), "big")


def choose_split(recipe: Preprocess, corpus: TextSize, contents: Iterable[tuple[Array, Array]]) -> Split:
    """Choose the documents to hold out, or the tail.

    corpus: size of the clean text. contents: keys and sizes of its documents, in ascending order of keys. Documents
    with the same text have one key, with the sum of their sizes, so that they are in the same split. Each that fits in
    the rest of the budget is held out. Raises CorpusTooSmallError if either split would be too small.
    """
    total = corpus.bytes
    budget = int(total * recipe.validation)
    by_document = recipe.split == "document" or (recipe.split == "auto" and corpus.documents >= _AUTO_DOCUMENTS)
    if by_document and corpus.documents == 1:
        raise CorpusTooSmallError(
            "there is only one document, so none can be held out",
            where="preprocess.split",
            todo="set preprocess.split to 'tail', or give more files",
        )
    split, held = _by_document(contents, budget) if by_document else (Split(False, tail=total - budget), budget)
    if min(held, total - held) < SMALLEST_SIDE:
        needed = int(SMALLEST_SIDE / recipe.validation) + 1
        raise CorpusTooSmallError(
            f"of {total:,} bytes of clean text {held:,} would be held out for validation, "
            f"and each side needs at least {SMALLEST_SIDE}",
            where="[preprocess]",
            todo=f"give about {max(needed, 2 * SMALLEST_SIDE):,} bytes of text, or raise preprocess.validation",
        )
    return split._replace(slack=budget // 2)


def _by_document(contents: Iterable[tuple[Array, Array]], budget: int) -> tuple[Split, int]:
    """The split, and the bytes it holds out. budget: bytes to hold out."""
    remaining, misses = budget, 0
    below: int | None = None
    others: list[int] = []
    smallest: tuple[int, int] | None = None
    seen = 0
    for keys, sizes in contents:
        seen += len(keys)
        start = 0
        if below is None:
            start = int(np.searchsorted(np.cumsum(sizes.astype(np.int64)), remaining, "right"))
            remaining -= int(sizes[:start].sum())
            below = int(keys[start]) if start < len(keys) else None
        for key, size in zip(keys[start:].tolist(), sizes[start:].tolist(), strict=True):
            smallest = min(smallest or (size, key), (size, key))
            if size <= remaining:
                others.append(key)
                remaining -= size
                misses = 0
            misses += 1
            if misses > _MISSES:
                break
        if misses > _MISSES:
            break
    if remaining == budget and smallest is not None and seen > 1:
        remaining, others = budget - smallest[0], [smallest[1]]
    return Split(True, below or 0, np.array(sorted(others), np.uint64)), budget - remaining


def cut_at_line(text: str, offset: int, slack: int) -> int:
    """Index in `text` of byte `offset` at most, after a newline if there is one at most `slack` bytes earlier."""
    data = text.encode()
    line = data.rfind(b"\n", max(0, offset - slack), offset) + 1
    return len(data[: line or offset].decode("utf-8", "ignore"))
