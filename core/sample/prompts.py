"""A request's text into token ids, a part at a time, so that others get their turn while a long one is read."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from core.tokenize.vocabulary import Vocabulary, cut, whole


def read(
    vocabulary: Vocabulary, text: str, most: int, *, beginning: bool = False
) -> Generator[None, None, tuple[list[int], int]]:
    """The last `most` ids of `text`, or the first, and how many it has. Others may go on after each part of it."""
    count, kept = 0, np.empty(0, np.uint32)
    for chunk in cut(whole(text)):
        ids = vocabulary.encode_chunk(chunk)
        count, kept = count + len(ids), np.concatenate([kept, ids])
        kept = kept[:most] if beginning else kept[-most:]
        yield
    return kept.tolist(), count


def read_prompt(vocabulary: Vocabulary, text: str, most: int) -> Generator[None, None, tuple[list[int], int]]:
    """The same of a prompt: an empty one is an end-of-text mark, behind which a new document begins."""
    ids, count = yield from read(vocabulary, text, most)
    return (ids, count) if ids else ([vocabulary.end_of_text], 1)
