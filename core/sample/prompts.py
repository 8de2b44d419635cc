"""A request's text into token ids, a part at a time, so that others get their turn while a long one is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

import numpy as np

from core.tokenize.codecs import Ids
from core.tokenize.vocabulary import Vocabulary, cut, whole


def read(
    vocabulary: Vocabulary, text: str, most: int, *, beginning: bool = False
) -> Generator[None, None, tuple[Ids, int]]:
    """The last `most` ids of `text`, or the first, and how many it has. Others may go on after each part of it."""
    count, held, parts = 0, 0, deque[Ids]()
    for chunk in cut(whole(text)):
        ids = vocabulary.encode_chunk(chunk)
        count += len(ids)
        if not beginning or held < most:
            parts.append(ids)
            held += len(ids)
        while not beginning and held - len(parts[0]) >= most:
            held -= len(parts.popleft())
        yield
    every = np.concatenate(parts) if parts else np.empty(0, np.uint32)
    return every[:most] if beginning else every[max(0, len(every) - most) :], count


def read_prompt(vocabulary: Vocabulary, text: str, most: int) -> Generator[None, None, tuple[list[int], int]]:
    """The last `most` ids of a prompt, at least one, and how many it has: an empty one is an end-of-text mark, behind
    which a new document begins."""
    ids, count = yield from read(vocabulary, text, most)
    return ids.tolist() or [vocabulary.end_of_text], max(1, count)


def start(vocabulary: Vocabulary, text: str) -> list[int]:
    """All ids of a prompt, at once."""
    return vocabulary.encode(text) or [vocabulary.end_of_text]
