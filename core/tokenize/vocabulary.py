"""Vocabularies: encoding text to token ids and decoding ids, for BPE, characters and bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from core.errors import LlmtuiError
from core.parsing import ParseError, read_json
from core.tokenize.codecs import ByteCodec, BytePairCodec, CharacterCodec, Codec, Ids

END_OF_TEXT = "<|endoftext|>"
MAX_SIZE = 2**24
"""Maximum size of a vocabulary: a damaged file must not exhaust the memory."""
_SCHEMA = 2
_CHUNK = 2**18
"""Maximum characters encoded at once, so that several threads share a long document."""

Kind = Literal["pairs", "characters", "bytes"]


class VocabularyError(LlmtuiError):
    """A file is damaged, or no vocabulary."""

    doing = "read the vocabulary"


class TokenIdError(LlmtuiError):
    """An id is not in the vocabulary."""

    doing = "decode the tokens"


class _File(Struct, frozen=True, kw_only=True):
    """Content of vocabulary.json."""

    schema: int
    name: str
    kind: Kind = "pairs"
    pattern: str
    """Regular expression that splits text into the words inside which bytes are merged; empty for other kinds."""
    special: dict[str, int]
    """Ids of the special tokens, to which no text is encoded, including the end-of-text token."""
    ranks: list[bytes]
    """The bytes of each id, in base64; empty for unused ids. In BPE, lower ids are merged first."""
    digest: str


class Vocabulary:
    """Token ids 0 to `size` − 1, including the end-of-text token; some ids may be unused."""

    def __init__(
        self,
        name: str,
        pattern: str,
        ranks: Sequence[bytes],
        special: Mapping[str, int] | None = None,
        kind: Kind = "pairs",
    ) -> None:
        """ranks: the bytes of each id, including all single bytes; empty for unused ids. special: ids of the special
        tokens; by default the end-of-text token after all ranks. kind: the encoder, see `codecs`.

        Raises ValueError if they are inconsistent.
        """
        self.name, self.pattern, self.kind, self.ranks = name, pattern, kind, tuple(ranks)
        self.special = dict(special if special is not None else {END_OF_TEXT: len(self.ranks)})
        if END_OF_TEXT not in self.special:
            raise ValueError("a vocabulary needs an end-of-text mark")
        self.end_of_text = self.special[END_OF_TEXT]
        self.size = max(len(self.ranks), *(token + 1 for token in self.special.values()))
        """Number of ids, including the end-of-text token and unused ids."""
        if self.size > MAX_SIZE:
            raise ValueError(f"a vocabulary has at most {MAX_SIZE:,} ids")
        ids = {token: rank for rank, token in enumerate(self.ranks) if token}
        if len(ids) != sum(map(bool, self.ranks)) or not all(bytes([byte]) in ids for byte in range(256)):
            raise ValueError("a vocabulary needs every single byte, and no entry twice")
        taken = set(self.special.values())
        if len(taken) != len(self.special) or any(t < 0 or (t < len(ranks) and ranks[t]) for t in taken):
            raise ValueError("two entries have the same id")
        self._codec: Codec
        if kind == "pairs":
            self._codec = BytePairCodec(name, pattern, ids, self.end_of_text)
        elif kind == "characters":
            self._codec = CharacterCodec(self.ranks, self.end_of_text)
        else:
            self._codec = ByteCodec(self.end_of_text)

    @cached_property
    def _texts(self) -> list[bytes]:
        """The bytes that each id is decoded to."""
        texts = [*self.ranks, *([b""] * (self.size - len(self.ranks)))]
        for mark, token in self.special.items():
            texts[token] = mark.encode()
        return texts

    def encode(self, text: str) -> list[int]:
        """The ids of `text`. `<|endoftext|>` in it is encoded as ordinary text; lone surrogates become U+FFFD."""
        return [
            token for chunk in split_chunks(replace_surrogates(text)) for token in self.encode_chunk(chunk).tolist()
        ]

    def encode_chunk(self, chunk: str, *, joined: bool = False) -> Ids:
        """(tokens,) ids of a chunk of `split_chunks`, without lone surrogates. Releases the GIL.

        joined: whether it is several documents separated by `codecs.DOCUMENT_SEPARATOR`, which becomes the end-of-text
        id.
        """
        return self._codec.encode(chunk, joined)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids`, which may begin or end inside a character. Raises TokenIdError for an unknown id."""
        for token in ids:
            if not 0 <= token < self.size:
                raise TokenIdError(f"there is no token {token}, the vocabulary {self.name} has {self.size:,}")
        return b"".join([self._texts[token] for token in ids])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; invalid UTF-8 becomes U+FFFD. Raises TokenIdError for an unknown id."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    @property
    def digest(self) -> str:
        """SHA-256 of everything that determines the ids of a text."""
        content = msgspec.json.encode((self.kind, self.pattern, self.special, self.ranks), order="sorted")
        return hashlib.sha256(content).hexdigest()

    def save(self, path: Path) -> None:
        """Write the vocabulary to one self-contained file."""
        file = _File(
            schema=_SCHEMA,
            name=self.name,
            kind=self.kind,
            pattern=self.pattern,
            special=self.special,
            ranks=list(self.ranks),
            digest=self.digest,
        )
        path.write_bytes(msgspec.json.encode(file))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a file written by `save`, also of older versions. Raises VocabularyError."""
        try:
            file = read_json(path, _File)
        except OSError as error:
            raise VocabularyError((error.strerror or str(error)).lower(), where=str(path)) from None
        except ParseError as error:
            raise VocabularyError(f"it is not a vocabulary ({error})", where=str(path)) from None
        if file.schema > _SCHEMA:
            raise VocabularyError("it was made by a newer version of llmtui", where=str(path), todo="update llmtui")
        try:
            vocabulary = cls(file.name, file.pattern, file.ranks, file.special, file.kind)
        except ValueError as error:
            raise VocabularyError(f"it is not a vocabulary ({error})", where=str(path)) from None
        if file.digest != (vocabulary.digest if file.schema == _SCHEMA else _first_digest(vocabulary)):
            raise VocabularyError("it has changed since it was written", where=str(path))
        return vocabulary


def _first_digest(vocabulary: Vocabulary) -> str:
    """The digest in files of schema 1, in which the end-of-text token is always the last entry."""
    if vocabulary.special != {END_OF_TEXT: len(vocabulary.ranks)}:
        return ""
    content = msgspec.json.encode((vocabulary.pattern, END_OF_TEXT, vocabulary.ranks))
    return hashlib.sha256(content).hexdigest()


def replace_surrogates(text: str) -> str:
    """`text` with surrogate pairs combined, and lone surrogates, which UTF-8 cannot encode, replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


# both patterns begin with the one character to search for: look-around at every character takes ten times as long
_LINE = re.compile(r"\n(?=[^\s/])(?:(?<=\S\n)|(?<=\S\r\n))")
"""A newline after which a new word begins in all supported patterns; in o200k's a slash may follow the newline."""
_WORD = re.compile(r" (?=[A-Za-z])(?<=[A-Za-z] )")
"""A space with which a new word begins in all supported patterns, for text without such lines."""


def split_chunks(text: str, limit: int = _CHUNK) -> Iterator[str]:
    """Split `text` into consecutive chunks of at most `limit` characters; none for an empty text.

    Chunks end after a line, or else before a word, where all supported patterns end a word, so that the tokens are
    those of the whole text. Text with neither is split anywhere: it would take quadratic time.
    """
    start = 0
    while len(text) - start > limit:
        line = _last_match(_LINE, text, start, start + limit)
        word = _last_match(_WORD, text, start + 1, start + limit + 1) if line is None else None
        end = line + 1 if line is not None else word if word is not None else start + limit
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _last_match(border: re.Pattern[str], text: str, start: int, end: int) -> int | None:
    """Index of the last match of `border` that begins in text[start:end], searched backwards in growing steps."""
    step = 128
    while True:
        begin = max(start, end - step)
        boundaries = [match.start() for match in border.finditer(text, begin, end + 1)]  # one character of look-ahead
        if boundaries:
            return boundaries[-1]
        if begin == start:
            return None
        step *= 8
