"""Three encoders of text to ids: byte-pair encoding (by tiktoken), single characters, single bytes.

Each also encodes many documents in one string, joined by `DOCUMENT_SEPARATOR`, which becomes the end-of-text id: one
call for a quarter of a megabyte of short documents instead of thousands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import tiktoken
from numpy.typing import NDArray

Ids = NDArray[np.uint32]

DOCUMENT_SEPARATOR = "\0llmtui: here ends a document\1"
"""Separates joined documents. None of its prefixes is also a suffix, so that counting it shows whether the documents
themselves contain it."""


_UNKNOWN = 2**32 - 1


class Codec(Protocol):
    def encode(self, text: str, joined: bool) -> Ids:
        """(tokens,) ids of `text`, which has no lone surrogates.

        joined: whether each DOCUMENT_SEPARATOR becomes the end-of-text id; otherwise it is encoded as text.
        """


class BytePairCodec:
    """Byte-pair encoding inside the words that a pattern matches."""

    def __init__(self, name: str, pattern: str, ranks: Mapping[bytes, int], end_of_text: int) -> None:
        """Raises ValueError if tiktoken rejects the arguments."""
        self._encoding = tiktoken.Encoding(
            name, pat_str=pattern, mergeable_ranks=dict(ranks), special_tokens={DOCUMENT_SEPARATOR: end_of_text}
        )

    def encode(self, text: str, joined: bool) -> Ids:
        return self._encoding.encode_to_numpy(
            text, allowed_special={DOCUMENT_SEPARATOR} if joined else set(), disallowed_special=()
        )


class CharacterCodec:
    """One id for each known character; other characters are encoded as their bytes."""

    def __init__(self, ranks: Sequence[bytes], end_of_text: int) -> None:
        """Raises ValueError if an entry is neither one character nor one byte."""
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
        # a surrogate, which no valid text contains, stands for the separator
        self._ids[0xDFFF] = end_of_text

    def encode(self, text: str, joined: bool) -> Ids:
        if joined:
            text = text.replace(DOCUMENT_SEPARATOR, "\udfff")
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        ids: Ids = self._ids[codes]
        unknown = ids == _UNKNOWN
        if not unknown.any():
            return ids
        lengths = np.where(unknown, 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000), 1)
        byte_positions = np.repeat(unknown, lengths)
        ids_with_bytes = np.empty(len(byte_positions), np.uint32)
        ids_with_bytes[~byte_positions] = ids[~unknown]
        unknown_bytes = codes[unknown].tobytes().decode("utf-32-le").encode()
        ids_with_bytes[byte_positions] = self._bytes[np.frombuffer(unknown_bytes, np.uint8)]
        return ids_with_bytes


class ByteCodec:
    """The bytes of UTF-8."""

    def __init__(self, end_of_text: int) -> None:
        self._end_of_text = end_of_text

    def encode(self, text: str, joined: bool) -> Ids:
        data = text.encode()
        if not joined:
            return np.frombuffer(data, np.uint8).astype(np.uint32)
        # a byte that never occurs in UTF-8
        ids = np.frombuffer(data.replace(DOCUMENT_SEPARATOR.encode(), b"\xff"), np.uint8).astype(np.uint32)
        ids[ids == 0xFF] = self._end_of_text
        return ids
