"""Vocabularies: text to token ids and back, whatever they are made of."""

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
from core.tokenize.codecs import Bytes, Characters, Codec, Ids, Pairs

END_OF_TEXT = "<|endoftext|>"
LARGEST = 2**24
"""Ids a vocabulary may have: a damaged file must not ask for all memory."""
_SCHEMA = 2
_CHUNK = 2**18
"""Characters encoded at once: two threads share even a single long document."""

Kind = Literal["pairs", "characters", "bytes"]


class VocabularyError(LlmtuiError):
    """A vocabulary file is damaged or not one."""

    doing = "read the vocabulary"


class TokenIdError(LlmtuiError):
    """An id that the vocabulary does not have."""

    doing = "decode the tokens"


class _File(Struct, frozen=True, kw_only=True):
    """vocabulary.json."""

    schema: int
    name: str
    kind: Kind = "pairs"
    pattern: str
    """Regular expression that cuts text into the pieces inside which bytes are merged; empty for other kinds."""
    special: dict[str, int]
    """Marks that no text is encoded to, the end-of-text mark among them."""
    ranks: list[bytes]
    """The bytes of every id, in base64, empty where it has none; of pairs, a lower id is merged first."""
    digest: str


class Vocabulary:
    """Token ids 0 to `size` − 1. One of them marks the end of a text; some may stand for nothing."""

    def __init__(
        self,
        name: str,
        pattern: str,
        ranks: Sequence[bytes],
        special: Mapping[str, int] | None = None,
        kind: Kind = "pairs",
    ) -> None:
        """ranks: the bytes of each id, single bytes among them, empty for an id without any. special: ids of the
        marks, the end-of-text mark behind all others when not given. kind: how text becomes ids, see `codecs`.

        Raises ValueError when they do not make a vocabulary.
        """
        self.name, self.pattern, self.kind, self.ranks = name, pattern, kind, tuple(ranks)
        self.special = dict(special if special is not None else {END_OF_TEXT: len(self.ranks)})
        if END_OF_TEXT not in self.special:
            raise ValueError("a vocabulary needs an end-of-text mark")
        self.end_of_text = self.special[END_OF_TEXT]
        self.size = max(len(self.ranks), *(token + 1 for token in self.special.values()))
        """Ids, the end-of-text mark and gaps included."""
        if self.size > LARGEST:
            raise ValueError(f"a vocabulary has at most {LARGEST:,} ids")
        ids = {token: rank for rank, token in enumerate(self.ranks) if token}
        if len(ids) != sum(map(bool, self.ranks)) or not all(bytes([byte]) in ids for byte in range(256)):
            raise ValueError("a vocabulary needs every single byte, and no entry twice")
        taken = set(self.special.values())
        if len(taken) != len(self.special) or any(t < 0 or (t < len(ranks) and ranks[t]) for t in taken):
            raise ValueError("two entries have the same id")
        self._codec: Codec
        if kind == "pairs":
            self._codec = Pairs(name, pattern, ids, self.end_of_text)
        elif kind == "characters":
            self._codec = Characters(self.ranks, self.end_of_text)
        else:
            self._codec = Bytes(self.end_of_text)

    @cached_property
    def _texts(self) -> list[bytes]:
        """What each id is decoded to."""
        texts = [*self.ranks, *([b""] * (self.size - len(self.ranks)))]
        for mark, token in self.special.items():
            texts[token] = mark.encode()
        return texts

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, in which `<|endoftext|>` is text like any other; lone surrogates become U+FFFD."""
        return [token for chunk in cut(whole(text)) for token in self.encode_chunk(chunk).tolist()]

    def encode_chunk(self, chunk: str, *, joined: bool = False) -> Ids:
        """(tokens,) ids of one of the chunks that `cut` makes, without lone surrogates. Other threads run meanwhile.

        joined: it is several documents with `codecs.JOINT` between them, which becomes the end-of-text mark.
        """
        return self._codec.encode(chunk, joined)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids`, which may begin or end inside a character; none for a gap. Raises TokenIdError."""
        for token in ids:
            if not 0 <= token < self.size:
                raise TokenIdError(f"there is no token {token}, the vocabulary {self.name} has {self.size:,}")
        return b"".join([self._texts[token] for token in ids])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD. Raises TokenIdError."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides which ids a text has."""
        content = msgspec.json.encode((self.kind, self.pattern, self.special, self.ranks), order="sorted")
        return hashlib.sha256(content).hexdigest()

    def save(self, path: Path) -> None:
        """Write all of it to one file that needs nothing else."""
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
        """Read what `save` wrote, now or in earlier versions. Raises VocabularyError."""
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
    """The digest in files of schema 1, whose end-of-text mark always was the last entry."""
    if vocabulary.special != {END_OF_TEXT: len(vocabulary.ranks)}:
        return ""
    content = msgspec.json.encode((vocabulary.pattern, END_OF_TEXT, vocabulary.ranks))
    return hashlib.sha256(content).hexdigest()


def whole(text: str) -> str:
    """`text` without lone surrogates, which no UTF-8 can hold; a pair of them is the character it stands for."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


# both begin with the one character they are found by: looking around at every character took ten times as long
_LINE = re.compile(r"\n(?=[^\s/])(?:(?<=\S\n)|(?<=\S\r\n))")
"""A line end behind which every pattern here begins a piece: o200k's lets a slash follow its newline."""
_WORD = re.compile(r" (?=[A-Za-z])(?<=[A-Za-z] )")
"""A space with which every pattern here begins a piece, for text without such lines."""


def cut(text: str, limit: int = _CHUNK) -> Iterator[str]:
    """Consecutive chunks of at most `limit` characters; no chunk for an empty text.

    They end where every pattern here ends a piece, behind a line or else before a word, so that the tokens are those
    of the uncut text. Only where there is neither do they end anywhere: such text would take its pattern or its
    merges quadratic time.
    """
    start = 0
    while len(text) - start > limit:
        line = _last(_LINE, text, start, start + limit)
        word = _last(_WORD, text, start + 1, start + limit + 1) if line is None else None
        end = line + 1 if line is not None else word if word is not None else start + limit
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _last(border: re.Pattern[str], text: str, start: int, end: int) -> int | None:
    """Where the last character of text[start:end] that is a `border` stands, looked for in ever larger steps."""
    step = 128
    while True:
        begin = max(start, end - step)
        found = [match.start() for match in border.finditer(text, begin, end + 1)]  # it looks one character ahead
        if found:
            return found[-1]
        if begin == start:
            return None
        step *= 8
