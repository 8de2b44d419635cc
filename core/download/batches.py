"""Batches of documents as Arrow record batches, without a Python object per document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from core.download import text_chunks
from core.storage.documents import SCHEMA

BATCH_BYTES = 8 * 2**20
"""Bytes of text in a batch, unless a part of one document is longer."""


class FilePosition(Struct, kw_only=True):
    """A position in a file, from which its reading continues."""

    offset: int = 0
    """Bytes of the decompressed file; in a table, rows."""
    line: int = 0
    """Lines before it."""
    part: int = 0
    """Parts of the text before it; for records, how many documents from `offset` on were already returned."""
    state: int = 0
    """State of the text decoder."""


class InvalidRecord(NamedTuple):
    """A record that cannot be read."""

    line: int
    why: str


class DocumentBatch(NamedTuple):
    """Some documents of a file, and statistics about the records they come from."""

    batch: pa.RecordBatch
    position: FilePosition
    """After these documents."""
    consumed: float
    """Bytes of the (compressed) file read so far."""
    replaced: int = 0
    """Replacement characters (U+FFFD) for undecodable bytes."""
    empty: int = 0
    """Records without text, which are skipped."""
    invalid_records: int = 0
    """Invalid records."""
    invalid: tuple[InvalidRecord, ...] = ()
    """The first `MAX_REPORTED` of them."""
    records: int = 0
    """All records: with text, without text and invalid."""
    unbalanced: int = 0
    """Table rows with unbalanced quotation marks, taken literally."""
    quoted_newlines: int = 0
    """Line breaks inside quoted cells."""


MAX_REPORTED = 1000
"""Invalid records described per batch: there may be a million of them in a few MiB."""

EMPTY_BATCH = pa.RecordBatch.from_pylist([], schema=SCHEMA)


def make_batches(file: str, numbers: Any, texts: Any) -> list[pa.RecordBatch]:
    """Documents named `file:number` as batches of at most about 8 MiB; longer ones than 4 MiB are split into parts.

    numbers: (N,) integers. texts: (N,) Arrow strings without nulls.
    """
    if not len(texts):
        return []
    names = pc.binary_join_element_wise(file, pc.cast(pa.array(numbers), pa.string()), ":")
    lengths = np.asarray(pc.binary_length(texts), dtype=np.int64)
    ends = np.cumsum(lengths)
    batches: list[pa.RecordBatch] = []
    start = 0
    while start < len(texts):
        if lengths[start] > text_chunks.PART_BYTES:
            batches += split_document(names[start].as_py(), texts[start].as_buffer())
            start += 1
            continue
        before = ends[start] - lengths[start]
        stop = int(np.searchsorted(ends, before + BATCH_BYTES, "right"))
        long = np.flatnonzero(lengths[start:stop] > text_chunks.PART_BYTES)
        stop = max(start + int(long[0]) if len(long) else stop, start + 1)
        parts = pa.array(np.zeros(stop - start, dtype=np.int32))
        batches.append(pa.RecordBatch.from_arrays([names[start:stop], parts, texts[start:stop]], schema=SCHEMA))
        start = stop
    return batches


def make_part_batch(name: str, number: int, text: str) -> pa.RecordBatch:
    """A batch of one part of a document."""
    return pa.RecordBatch.from_arrays(
        [pa.array([name]), pa.array([number], pa.int32()), pa.array([text])], schema=SCHEMA
    )


def split_document(name: str, text: pa.Buffer | bytes) -> Iterator[pa.RecordBatch]:
    """Split a long document (UTF-8) into parts of at most 4 MiB, at line ends where possible."""
    data = memoryview(text)
    start = number = 0
    while start < len(data) or number == 0:
        piece = bytes(data[start : start + text_chunks.PART_BYTES])
        if start + len(piece) < len(data):
            piece = truncate_utf8(piece)
        yield make_part_batch(name, number, piece.decode())
        start, number = start + len(piece), number + 1


def truncate_utf8(piece: bytes) -> bytes:
    """Cut UTF-8 that may end inside a character after its last whole line, or else its last whole character."""
    if end := piece.rfind(b"\n") + 1:
        return piece[:end]
    end = len(piece)
    while end > max(0, len(piece) - 4) and piece[end - 1] & 0xC0 == 0x80:
        end -= 1
    lead = piece[end - 1] if end else 0
    need = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    return piece if len(piece) - end + 1 >= need else piece[: end - 1]


def skip_emitted(
    batches: list[pa.RecordBatch],
    start: FilePosition,
    after: FilePosition,
    consumed: float,
    counts: DocumentBatch | None = None,
) -> Iterator[DocumentBatch]:
    """Yield `batches`, all read from `start`, without the first `start.part` rows, which were yielded before.

    after: the position after the last batch. counts: the statistics to yield with the first batch.
    """
    seen = 0
    fresh = start.part == 0
    for index, batch in enumerate(batches):
        seen += batch.num_rows
        if seen <= start.part:
            continue
        last = index == len(batches) - 1
        position = after if last else FilePosition(offset=start.offset, line=start.line, part=seen)
        result = counts if fresh and counts is not None else DocumentBatch(EMPTY_BATCH, after, consumed)
        fresh = False
        yield result._replace(batch=batch, position=position, consumed=consumed)
    if not batches:
        yield (counts or DocumentBatch(EMPTY_BATCH, after, consumed))._replace(
            batch=EMPTY_BATCH, position=after, consumed=consumed
        )
