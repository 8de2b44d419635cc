"""The interface between a source and the download stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import pyarrow as pa

from core.events import Event
from core.storage.artifact import Facts


class SourceBatch(NamedTuple):
    """Some documents, or parts of long documents, and the position after them."""

    batch: pa.RecordBatch
    """The columns of `documents.SCHEMA`; at most about 8 MiB of text. The parts of a document are consecutive."""
    done: float
    """How much of the source has been read, in the unit of `SourceReader.total`."""
    position: Facts
    """The argument of `SourceReader.read` that continues after this batch, in this or in a later process. The batches
    after it do not depend on whether the reading was interrupted."""


class SourceReader(Protocol):
    """A source that has not been read yet."""

    total: float | None
    """Bytes to read, as counted by progress; None if unknown."""
    facts: Facts
    """Facts worth keeping about the source, such as its revision or how many files were skipped. `read` updates them
    with every SourceBatch, since a limit may end the reading there."""

    def read(self, position: Facts) -> Iterator[SourceBatch | Event]:
        """The documents after `position` (empty: all of them), and events about them. Raises LlmtuiError.

        A source that blocks yields a Progress at least once a second, so that it can be stopped.
        """
