"""Which text is held out for validation."""

from __future__ import annotations

from array import array
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.recipe import Preprocess
from core.trouble import Trouble

SMALLEST_SIDE = 256
"""Bytes; below, a validation loss says nothing."""
_AUTO_DOCUMENTS = 20

Side = Literal["train", "validation"]


class TooSmall(Trouble):
    """There is too little text to hold some of it out."""

    doing = "split the corpus"


class Split(NamedTuple):
    """Where each surviving byte goes."""

    held_out: NDArray[np.bool_] | None
    """(documents,) whether the document is for validation; None: the tail is."""
    tail: int
    """Bytes of clean text before the tail."""
    slack: int
    """The tail may begin so many bytes earlier, to begin with a line."""


def choose(recipe: Preprocess, keys: array[int], sizes: array[int], kept: array[int]) -> Split:
    """Divide documents with the given `keys` (64-bit digests of seed and content), `sizes` (bytes), `kept` (0 or 1).

    Documents with the same content always go the same way. Raises TooSmall.
    """
    size, key, keep = np.asarray(sizes, np.int64), np.asarray(keys, np.uint64), np.asarray(kept, np.bool_)
    total, documents = int(size[keep].sum()), int(keep.sum())
    wanted = int(total * recipe.validation)
    by_document = recipe.split == "document" or (recipe.split == "auto" and documents >= _AUTO_DOCUMENTS)
    if by_document:
        chosen = _by_document(key[keep], size[keep], wanted)
        held_out = np.zeros(len(size), np.bool_)
        held_out[keep] = chosen
        held = int(size[held_out].sum())
    else:
        held_out, held = None, wanted
    if documents == 1 and by_document:
        raise TooSmall(
            "there is only one document, so none can be held out",
            where="preprocess.split",
            todo="set preprocess.split to 'tail', or give more files",
        )
    if min(held, total - held) < SMALLEST_SIDE:
        needed = int(SMALLEST_SIDE / recipe.validation) + 1
        raise TooSmall(
            f"of {total:,} bytes of clean text {held:,} would be held out for validation, "
            f"and each side needs at least {SMALLEST_SIDE}",
            where="[preprocess]",
            todo=f"give about {max(needed, 2 * SMALLEST_SIDE):,} bytes of text, or raise preprocess.validation",
        )
    return Split(held_out, total - wanted, wanted // 2)


def _by_document(key: NDArray[np.uint64], size: NDArray[np.int64], wanted: int) -> NDArray[np.bool_]:
    """Go through the contents in the order of their keys and hold out each that still fits in `wanted` bytes."""
    contents, content_of = np.unique(key, return_inverse=True)
    weights = np.bincount(content_of, size, len(contents)).astype(np.int64)
    chosen = np.zeros(len(contents), np.bool_)
    room, smallest = wanted, int(weights.min())
    for index, weight in enumerate(weights.tolist()):
        if room < smallest:
            break
        if weight <= room:
            chosen[index] = True
            room -= weight
    if not chosen.any() and len(contents) > 1:
        chosen[weights.argmin()] = True
    return chosen[content_of]


def cut_at_line(text: str, wanted: int, slack: int) -> int:
    """Index in `text` nearest before byte `wanted`, behind a line end if there is one at most `slack` bytes earlier."""
    data = text.encode()
    line = data.rfind(b"\n", max(0, wanted - slack), wanted) + 1
    return len(data[: line or wanted].decode("utf-8", "ignore"))
