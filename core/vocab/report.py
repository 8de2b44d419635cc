"""Statistics of a vocabulary on the corpus it has encoded: `vocabulary_report.json`."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from core.errors import LlmtuiError
from core.parsing import ParseError, read_json

REPORT_FILE = "vocabulary_report.json"


class ReportError(LlmtuiError):
    """The report is missing or cannot be read."""

    doing = "read the vocabulary report"


class VocabularyEntry(Struct, frozen=True, kw_only=True):
    """One entry of a vocabulary."""

    id: int
    bytes: int
    text: str
    """Its bytes as text; invalid UTF-8 becomes U+FFFD."""
    hex: str
    """Its first 64 bytes."""
    count: int
    """Occurrences in the training text."""


class VocabularyReport(Struct, frozen=True, kw_only=True):
    """How well a vocabulary fits the corpus."""

    vocabulary: str
    size: int
    """Number of ids, including the end-of-text token and unused ids."""
    entries: int
    """Ids that stand for text."""
    used: int
    """Entries that occur in the training text."""
    unused: int
    learned_from: int
    """Bytes of training text it was trained on; 0 for published ones, and for bytes."""
    train_bytes: int
    train_tokens: int
    validation_bytes: int
    validation_tokens: int
    train_bytes_per_token: float
    """Counting end-of-text tokens, here and below."""
    bytes_per_token: float
    """On the held-out text."""
    longest: tuple[VocabularyEntry, ...]
    frequent: tuple[VocabularyEntry, ...]

    @property
    def unused_share(self) -> float:
        """Of the entries, 0 to 1."""
        return self.unused / max(1, self.entries)


def read_report(tokens: Path) -> VocabularyReport:
    """The report in the tokens artifact at `tokens`. Raises NoReportError."""
    path = tokens / REPORT_FILE
    try:
        return read_json(path, VocabularyReport)
    except OSError as error:
        raise ReportError(
            (error.strerror or str(error)).lower(),
            where=str(path),
            todo="the tokens may have been made by an older version; a new run of the same recipe makes them again",
        ) from None
    except ParseError as error:
        raise ReportError(f"it cannot be read ({error})", where=str(path)) from None
