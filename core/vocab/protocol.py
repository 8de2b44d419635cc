"""Messages of the child job that compares vocabularies: a request, a result for each, a summary."""

from __future__ import annotations

from msgspec import Struct


class VocabularyChoice(Struct, frozen=True, kw_only=True):
    """A vocabulary to compare."""

    name: str
    """An encoding of tiktoken, characters, bytes or bpe:SIZE; with `file`, the name to show."""
    file: str = ""
    """Path of a vocabulary.json."""


class CompareRequest(Struct, frozen=True, kw_only=True):
    """Encode the same text with several vocabularies."""

    vocabularies: tuple[VocabularyChoice, ...]
    corpus: str
    """A source as in recipes; or a directory of clean documents, whose validation text is encoded."""
    clean: bool = False
    """Whether the corpus is a directory of clean documents."""


class CompareResult(Struct, frozen=True, kw_only=True, tag=True):
    """Measurements of one vocabulary."""

    vocabulary: str
    entries: int
    """Number of ids."""
    tokens: int
    bytes_per_token: float
    characters_per_token: float
    bytes_per_second: float
    """Of encoding, on all cores."""
    learned_from: int
    """Bytes of the corpus it was trained on; 0 for an existing one."""


class CompareSummary(Struct, frozen=True, kw_only=True, tag=True):
    """The text measured; the last message."""

    documents: int
    bytes: int
    """Of the text that was encoded."""
    characters: int
    held_out: bool
    """Whether no vocabulary was trained on this text."""
