"""Vocabularies: text to token ids and back. tiktoken does both, whoever made the vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import tiktoken
from msgspec import Struct
from numpy.typing import NDArray

from core.trouble import Trouble

END_OF_TEXT = "<|endoftext|>"
_SCHEMA = 1
_CHUNK = 2**18
"""Characters that tiktoken gets at once: two threads share even a single long document."""


class BadVocabulary(Trouble):
    """A vocabulary file is damaged or not one."""

    doing = "read the vocabulary"


class BadToken(Trouble):
    """An id that the vocabulary does not have."""

    doing = "decode the tokens"


class _File(Struct, frozen=True, kw_only=True):
    """vocabulary.json."""

    schema: int
    name: str
    pattern: str
    """Regular expression that cuts text into the pieces inside which bytes are merged."""
    special: dict[str, int]
    ranks: list[bytes]
    """The bytes of every id but the special ones, in base64; a lower id is merged first."""
    digest: str


class Vocabulary:
    """Token ids 0 to `size` − 1, the last of which marks the end of a text."""

    def __init__(self, name: str, pattern: str, ranks: Sequence[bytes]) -> None:
        """ranks: the bytes of each id, single bytes among them; two with a lower id are merged first.

        Raises ValueError when they do not make a vocabulary.
        """
        self.name, self.pattern, self.ranks = name, pattern, tuple(ranks)
        self.end_of_text = len(self.ranks)
        mergeable = {token: rank for rank, token in enumerate(self.ranks)}
        if len(mergeable) != len(self.ranks) or not all(bytes([byte]) in mergeable for byte in range(256)):
            raise ValueError("a vocabulary needs every single byte, and no entry twice")
        self._encoding = tiktoken.Encoding(
            name, pat_str=pattern, mergeable_ranks=mergeable, special_tokens={END_OF_TEXT: self.end_of_text}
        )

    @property
    def size(self) -> int:
        """Entries, the end-of-text mark included."""
        return len(self.ranks) + 1

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, in which `<|endoftext|>` is text like any other; lone surrogates become U+FFFD."""
        return [token for chunk in cut(text) for token in self.encode_chunk(chunk).tolist()]

    def encode_chunk(self, chunk: str) -> NDArray[np.uint32]:
        """(tokens,) ids of one of the chunks that `cut` makes. Runs in parallel with other threads."""
        return self._encoding.encode_to_numpy(whole(chunk), disallowed_special=())

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids`, which may begin or end inside a character. Raises BadToken."""
        for token in ids:
            if not 0 <= token < self.size:
                raise BadToken(f"there is no token {token}, the vocabulary {self.name} has {self.size:,}")
        return self._encoding.decode_bytes(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD. Raises BadToken."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides which ids a text has."""
        content = msgspec.json.encode((self.pattern, END_OF_TEXT, self.ranks))
        return hashlib.sha256(content).hexdigest()

    def save(self, path: Path) -> None:
        """Write all of it to one file that needs nothing else."""
        file = _File(
            schema=_SCHEMA,
            name=self.name,
            pattern=self.pattern,
            special={END_OF_TEXT: self.end_of_text},
            ranks=list(self.ranks),
            digest=self.digest,
        )
        path.write_bytes(msgspec.json.encode(file))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote. Raises BadVocabulary."""
        try:
            file = msgspec.json.decode(path.read_bytes(), type=_File)
        except OSError as error:
            raise BadVocabulary((error.strerror or str(error)).lower(), where=str(path)) from None
        except msgspec.DecodeError as error:
            raise BadVocabulary(f"it is not a vocabulary ({error})", where=str(path)) from None
        if file.schema != _SCHEMA:
            raise BadVocabulary("it was made by a newer version of llmtui", where=str(path), todo="update llmtui")
        try:
            vocabulary = cls(file.name, file.pattern, file.ranks)
        except ValueError as error:
            raise BadVocabulary(f"it is not a vocabulary ({error})", where=str(path)) from None
        if vocabulary.digest != file.digest or file.special != {END_OF_TEXT: vocabulary.end_of_text}:
            raise BadVocabulary("it has changed since it was written", where=str(path))
        return vocabulary


def whole(text: str) -> str:
    """`text` without lone surrogates, which no UTF-8 can hold; a pair of them is the character it stands for."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def cut(text: str, limit: int = _CHUNK) -> Iterator[str]:
    """Consecutive chunks of at most `limit` characters; no chunk for an empty text.

    They end behind a newline between two characters that are no white space, where every pattern here ends a
    piece, so that the tokens are those of the uncut text. Only where there is none do they end anywhere: such text
    would take its pattern or its merges quadratic time.
    """
    start = 0
    while len(text) - start > limit:
        end = start + limit
        at = end
        while (at := text.rfind("\n", start + 1, at)) > 0:
            if not text[at - 1].isspace() and not text[at + 1].isspace():
                end = at + 1
                break
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]
