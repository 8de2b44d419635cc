"""Which text is held out for validation."""

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
"""Bytes; below, a validation loss says nothing."""
_AUTO_DOCUMENTS = 20
_MISSES = 1000
"""Contents in a row that were too large for the room left, after which the search for a smaller one ends."""

Side = Literal["train", "validation"]


class CorpusTooSmallError(LlmtuiError):
    """There is too little text to hold some of it out."""

    doing = "split the corpus"


class Split(NamedTuple):
    """Where each surviving byte goes."""

    by_document: bool
    below: int = 0
    """Documents whose key is less are held out."""
    others: NDArray[np.uint64] = np.zeros(0, np.uint64)
    """And those with one of these, sorted."""
    tail: int = 0
    """Otherwise: bytes of clean text before the tail."""
    slack: int = 0
    """The tail may begin so many bytes earlier, to begin with a line."""

    def holds_out(self, key: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the documents with these keys are for validation."""
        chosen: NDArray[np.bool_] = (key < np.uint64(self.below)) | np.isin(key, self.others)
        return chosen


def split_key(seed: int, digest: bytes) -> int:
    """64 bits from the seed and a document's content: those with the smallest are held out."""
    return int.from_bytes(blake2b(digest, digest_size=8, key=str(seed).encode()).digest(), "big")


def choose(recipe: Preprocess, corpus: TextSize, contents: Iterable[tuple[Array, Array]]) -> Split:
    """Divide what is left, `corpus`; `contents`: keys and sizes of its documents, in ascending order of keys.

    Documents with the same content have the same key and come once, with their sizes added up, so they always go the
    same way. Goes through the contents and holds out each that still fits. Raises CorpusTooSmallError.
    """
    total = corpus.bytes
    wanted = int(total * recipe.validation)
    by_document = recipe.split == "document" or (recipe.split == "auto" and corpus.documents >= _AUTO_DOCUMENTS)
    if by_document and corpus.documents == 1:
        raise CorpusTooSmallError(
            "there is only one document, so none can be held out",
            where="preprocess.split",
            todo="set preprocess.split to 'tail', or give more files",
        )
    split, held = _by_document(contents, wanted) if by_document else (Split(False, tail=total - wanted), wanted)
    if min(held, total - held) < SMALLEST_SIDE:
        needed = int(SMALLEST_SIDE / recipe.validation) + 1
        raise CorpusTooSmallError(
            f"of {total:,} bytes of clean text {held:,} would be held out for validation, "
            f"and each side needs at least {SMALLEST_SIDE}",
            where="[preprocess]",
            todo=f"give about {max(needed, 2 * SMALLEST_SIDE):,} bytes of text, or raise preprocess.validation",
        )
    return split._replace(slack=wanted // 2)


def _by_document(contents: Iterable[tuple[Array, Array]], wanted: int) -> tuple[Split, int]:
    """The split, and how many bytes it holds out."""
    room, misses = wanted, 0
    below: int | None = None
    others: list[int] = []
    smallest: tuple[int, int] | None = None
    seen = 0
    for keys, sizes in contents:
        seen += len(keys)
        start = 0
        if below is None:
            start = int(np.searchsorted(np.cumsum(sizes.astype(np.int64)), room, "right"))
            room -= int(sizes[:start].sum())
            below = int(keys[start]) if start < len(keys) else None
        for key, size in zip(keys[start:].tolist(), sizes[start:].tolist(), strict=True):
            smallest = min(smallest or (size, key), (size, key))
            if size <= room:
                others.append(key)
                room -= size
                misses = 0
            misses += 1
            if misses > _MISSES:
                break
        if misses > _MISSES:
            break
    if room == wanted and smallest is not None and seen > 1:
        room, others = wanted - smallest[0], [smallest[1]]
    return Split(True, below or 0, np.array(sorted(others), np.uint64)), wanted - room


def cut_at_line(text: str, wanted: int, slack: int) -> int:
    """Index in `text` nearest before byte `wanted`, behind a line end if there is one at most `slack` bytes earlier."""
    data = text.encode()
    line = data.rfind(b"\n", max(0, wanted - slack), wanted) + 1
    return len(data[: line or wanted].decode("utf-8", "ignore"))
