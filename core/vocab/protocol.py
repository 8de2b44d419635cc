"""What the comparing process is asked, and what it answers: a `Row` for each vocabulary, then one `Compared`."""

from __future__ import annotations

from msgspec import Struct


class Choice(Struct, frozen=True, kw_only=True):
    """A vocabulary to compare."""

    name: str
    """One of tiktoken's, characters, bytes or bpe:SIZE; with `file`, what to call it."""
    file: str = ""
    """Path of a vocabulary.json."""


class Compare(Struct, frozen=True, kw_only=True):
    """Encode the same text with several vocabularies."""

    vocabularies: tuple[Choice, ...]
    corpus: str
    """A source as recipes name them; or a directory of clean documents, whose validation text is meant."""
    clean: bool = False
    """The corpus is a directory of clean documents."""


class Row(Struct, frozen=True, kw_only=True, tag=True):
    """How one vocabulary did."""

    vocabulary: str
    entries: int
    """Its ids."""
    tokens: int
    bytes_per_token: float
    characters_per_token: float
    bytes_per_second: float
    """Of encoding, on all cores."""
    learned_from: int
    """Bytes of other text of the corpus it was made from; 0 for one that was there before."""


class Compared(Struct, frozen=True, kw_only=True, tag=True):
    """All is told."""

    documents: int
    bytes: int
    """Of the text that was encoded."""
    characters: int
    held_out: bool
    """It is text that no vocabulary made for the comparison was made from."""
