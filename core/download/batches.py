"""Many documents at a time, without a Python object for each."""

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
"""Text in a batch, unless a part of one document is longer."""


class FilePosition(Struct, kw_only=True):
    """Where a file goes on."""

    offset: int = 0
    """In the unpacked file, bytes; in a table, rows."""
    line: int = 0
    """Lines before it."""
    part: int = 0
    """Parts of the text before it; of records, rows already given of those that begin at `offset`."""
    state: int = 0
    """The decoder's."""


class InvalidRecord(NamedTuple):
    """A record that cannot be read."""

    line: int
    why: str


class DocumentBatch(NamedTuple):
    """Some documents of a file, and how it went."""

    batch: pa.RecordBatch
    place: FilePosition
    """Behind them."""
    consumed: float
    """Bytes of the file on the disk used up by now."""
    replaced: int = 0
    """Characters that stand for bytes which mean nothing."""
    empty: int = 0
    """Records without text, which are left out."""
    broken: int = 0
    """Records that cannot be read."""
    invalid: tuple[InvalidRecord, ...] = ()
    """The first `MAX_REPORTED` of them."""
    records: int = 0
    """All that were met: with text, without and broken."""
    unbalanced: int = 0
    """Rows whose quotation marks do not pair, taken as they stand."""
    inside: int = 0
    """Line ends inside quoted cells."""


MAX_REPORTED = 1000
"""Broken records of one step that are described: there may be a million of them in a few MiB."""

EMPTY_BATCH = pa.RecordBatch.from_pylist([], schema=SCHEMA)


def make_batches(file: str, numbers: Any, texts: Any) -> list[pa.RecordBatch]:
    """Documents named `file:number` as batches of at most some 8 MiB; what is longer than 4 MiB is cut into parts.

    numbers: (N,) integers. texts: (N,) of Arrow's string, none of them null.
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
    """One part of a document."""
    return pa.RecordBatch.from_arrays(
        [pa.array([name]), pa.array([number], pa.int32()), pa.array([text])], schema=SCHEMA
    )


def split_document(name: str, text: pa.Buffer | bytes) -> Iterator[pa.RecordBatch]:
    """One long document (UTF-8) as its parts, each at most 4 MiB, at line ends where there are any."""
    data = memoryview(text)
    start = number = 0
    while start < len(data) or number == 0:
        piece = bytes(data[start : start + text_chunks.PART_BYTES])
        if start + len(piece) < len(data):
            piece = truncate_utf8(piece)
        yield make_part_batch(name, number, piece.decode())
        start, number = start + len(piece), number + 1


def truncate_utf8(piece: bytes) -> bytes:
    """The beginning of some UTF-8 that may end inside a character: its whole lines, or else whole characters."""
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
    """Give `batches`, all read from `start`, one by one, without the rows that `start` says were given before.

    behind: the place after the last. said: whose counts go with the first of them.
    """
    seen = 0
    fresh = start.part == 0
    for index, batch in enumerate(batches):
        seen += batch.num_rows
        if seen <= start.part:
            continue
        last = index == len(batches) - 1
        place = after if last else FilePosition(offset=start.offset, line=start.line, part=seen)
        counts = counts if fresh and counts is not None else DocumentBatch(EMPTY_BATCH, after, consumed)
        fresh = False
        yield counts._replace(batch=batch, place=place, consumed=consumed)
    if not batches:
        yield (counts or DocumentBatch(EMPTY_BATCH, after, consumed))._replace(
            batch=EMPTY_BATCH, place=after, consumed=consumed
        )
