"""What every kind of source looks like to the download stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import pyarrow as pa

from core.events import Event
from core.storage.artifact import Facts


class Rows(NamedTuple):
    """Some documents, or parts of long ones, and where their source goes on behind them."""

    batch: pa.RecordBatch
    """The columns of `documents.SCHEMA`; at most some 8 MiB of text. A document's parts follow each other."""
    done: float
    """How much of the source is read by now, in the unit of `Origin.total`."""
    position: Facts
    """What `Origin.read` takes to go on behind these rows, here or after a break. The batches that follow it are the
    same as without the break."""


class Origin(Protocol):
    """One source, looked at but not yet read."""

    total: float | None
    """Bytes to be read, as progress counts them; None where nobody knows."""
    facts: Facts
    """What is worth keeping about the source, such as its revision or how many files were skipped. Kept
    current by `read` with every Rows, as a limit may end it there."""

    def read(self, position: Facts) -> Iterator[Rows | Event]:
        """The documents behind `position` (empty: all) and what there is to say about them. Raises LlmtuiError.

        A source that waits for something yields a Progress at least every second, so that a stop is heeded.
        """
