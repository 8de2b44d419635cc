"""What is told about a vocabulary after a corpus was encoded with it: `vocabulary_report.json`."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from core.errors import LlmtuiError
from core.parsing import ParseError, read_json

FILE = "vocabulary_report.json"


class NoReportError(LlmtuiError):
    doing = "read the vocabulary report"


class Entry(Struct, frozen=True, kw_only=True):
    """One token."""

    id: int
    bytes: int
    text: str
    """Its bytes as text; those that are no UTF-8 by themselves as U+FFFD."""
    hex: str
    """Its bytes, the first 64 of them."""
    count: int
    """How often it stands in the training text."""


class VocabularyReport(Struct, frozen=True, kw_only=True):
    """How a vocabulary fits the corpus."""

    vocabulary: str
    size: int
    """Ids, the end-of-text mark and gaps included."""
    entries: int
    """Ids that stand for text."""
    used: int
    """Entries that occur in the training text."""
    unused: int
    learned_from: int
    """Bytes of training text it was learned from; 0 for a published one, and for bytes."""
    train_bytes: int
    train_tokens: int
    validation_bytes: int
    validation_tokens: int
    train_bytes_per_token: float
    """End-of-text marks are counted as tokens, here and below."""
    bytes_per_token: float
    """On the held-out text."""
    longest: tuple[Entry, ...]
    frequent: tuple[Entry, ...]

    @property
    def unused_share(self) -> float:
        """Of the entries, 0 to 1."""
        return self.unused / max(1, self.entries)


def read_report(tokens: Path) -> VocabularyReport:
    """The report in the tokens artifact at `tokens`. Raises NoReportError."""
    path = tokens / FILE
    try:
        return read_json(path, VocabularyReport)
    except OSError as error:
        raise NoReportError(
            (error.strerror or str(error)).lower(),
            where=str(path),
            todo="the tokens may have been made by an older version; a new run of the same recipe makes them again",
        ) from None
    except ParseError as error:
        raise NoReportError(f"it cannot be read ({error})", where=str(path)) from None
