"""Encoding of a request's text, chunk by chunk, so that other requests get their turn while a long text is encoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

import numpy as np

from core.tokenize.codecs import Ids
from core.tokenize.vocabulary import Vocabulary, replace_surrogates, split_chunks


def encode_truncated(
    vocabulary: Vocabulary, text: str, max_tokens: int, *, keep_start: bool = False
) -> Generator[None, None, tuple[Ids, int]]:
    """The last `max_tokens` ids of `text`, or the first ones, and their number before truncation.

    Yields after each chunk.
    """
    count, held, parts = 0, 0, deque[Ids]()
    for chunk in split_chunks(replace_surrogates(text)):
        ids = vocabulary.encode_chunk(chunk)
        count += len(ids)
        if not keep_start or held < max_tokens:
            parts.append(ids)
            held += len(ids)
        while not keep_start and held - len(parts[0]) >= max_tokens:
            held -= len(parts.popleft())
        yield
    ids = np.concatenate(parts) if parts else np.empty(0, np.uint32)
    return ids[:max_tokens] if keep_start else ids[max(0, len(ids) - max_tokens) :], count


def encode_prompt(vocabulary: Vocabulary, text: str, max_tokens: int) -> Generator[None, None, tuple[list[int], int]]:
    """The last `max_tokens` ids of a prompt, and their number before truncation.

    An empty prompt becomes an end-of-text token, after which a new document begins. Yields after each chunk.
    """
    ids, count = yield from encode_truncated(vocabulary, text, max_tokens)
    return ids.tolist() or [vocabulary.end_of_text], max(1, count)


def encode_whole_prompt(vocabulary: Vocabulary, text: str) -> list[int]:
    """All ids of a prompt; an empty one becomes an end-of-text token."""
    return vocabulary.encode(text) or [vocabulary.end_of_text]
