"""The three ways text becomes ids: merged byte pairs (by tiktoken), single characters, single bytes.

Each can also take many documents in one string, joined by `JOINT`, and puts the end-of-text id where they end: one
call for a quarter of a megabyte of short documents instead of thousands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import tiktoken
from numpy.typing import NDArray

Ids = NDArray[np.uint32]

JOINT = "\0llmtui: here ends a document\1"
"""Stands between joined documents. No beginning of it is also an end of it, so that counting it tells for certain
whether the documents themselves contain it."""


_UNKNOWN = 2**32 - 1


class Codec(Protocol):
    def encode(self, text: str, joined: bool) -> Ids:
        """(tokens,) ids of `text`, which has no lone surrogates.

        joined: each JOINT in it becomes the end-of-text id; otherwise it is text like any other.
        """


class Pairs:
    """Bytes merged pair by pair, inside the pieces that a pattern cuts."""

    def __init__(self, name: str, pattern: str, ranks: Mapping[bytes, int], end_of_text: int) -> None:
        """Raises ValueError when tiktoken cannot use them."""
        self._encoding = tiktoken.Encoding(
            name, pat_str=pattern, mergeable_ranks=dict(ranks), special_tokens={JOINT: end_of_text}
        )

    def encode(self, text: str, joined: bool) -> Ids:
        return self._encoding.encode_to_numpy(text, allowed_special={JOINT} if joined else set(), disallowed_special=())


class Characters:
    """One id for each known character; the bytes of any other."""

    def __init__(self, ranks: Sequence[bytes], end_of_text: int) -> None:
        """Raises ValueError when an entry is neither one character nor one byte."""
        self._ids = np.full(0x110000, _UNKNOWN, np.uint32)
        self._bytes = np.zeros(256, np.uint32)
        for token, content in enumerate(ranks):
            if len(content) == 1:
                self._bytes[content[0]] = token
            if len(content) > 1 or b"" < content < b"\x80":
                character = content.decode()
                if len(character) != 1:
                    raise ValueError("it has entries of several characters")
                self._ids[ord(character)] = token
        # a code that no valid text has, for the joints
        self._ids[0xDFFF] = end_of_text

    def encode(self, text: str, joined: bool) -> Ids:
        if joined:
            text = text.replace(JOINT, "\udfff")
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        ids: Ids = self._ids[codes]
        unknown = ids == _UNKNOWN
        if not unknown.any():
            return ids
        lengths = np.where(unknown, 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000), 1)
        spread = np.repeat(unknown, lengths)
        mixed = np.empty(len(spread), np.uint32)
        mixed[~spread] = ids[~unknown]
        strange = codes[unknown].tobytes().decode("utf-32-le").encode()
        mixed[spread] = self._bytes[np.frombuffer(strange, np.uint8)]
        return mixed


class Bytes:
    """The bytes of UTF-8 themselves."""

    def __init__(self, end_of_text: int) -> None:
        self._end_of_text = end_of_text

    def encode(self, text: str, joined: bool) -> Ids:
        data = text.encode()
        if not joined:
            return np.frombuffer(data, np.uint8).astype(np.uint32)
        # a byte that UTF-8 never has
        ids = np.frombuffer(data.replace(JOINT.encode(), b"\xff"), np.uint8).astype(np.uint32)
        ids[ids == 0xFF] = self._end_of_text
        return ids
