"""A column of text, as Arrow holds it, as rows of documents: no Python object per row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.download import text_chunks
from core.download.batches import split_document
from core.storage.documents import SCHEMA

BATCH_BYTES = 4 * 2**20
"""UTF-8 bytes of text after which a batch ends."""


class Cut(NamedTuple):
    """Some documents, or one part of a long one."""

    batch: pa.RecordBatch
    row: int
    """Where it goes on: the row behind the batch, or the one of which a part is left."""
    part: int


def is_text_type(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    kind = _plain(kind)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_binary_type(kind: pa.DataType) -> bool:
    """Whether a column of this type holds bytes, which may be text that nobody has called so."""
    kind = _plain(kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def may_contain_text(kind: pa.DataType) -> bool:
    """Whether there may be text in a column of this type, or inside its lists and objects."""
    kind = _plain(kind)
    if pa.types.is_struct(kind):
        return any(may_contain_text(kind.field(number).type) for number in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return may_contain_text(kind.value_type)
    return is_text_type(kind) or is_binary_type(kind)


def sample_rows(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    """About so many rows of a batch, from all over it, each by itself: Arrow takes none out of string views."""
    for row in range(0, batch.num_rows, max(1, batch.num_rows // rows)):
        yield batch.slice(row, 1)


def _plain(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def to_valid_utf8(column: pa.Array) -> tuple[pa.Array, int]:
    """The column as UTF-8 strings, and in how many places bytes that are none were replaced by U+FFFD."""
    if column.type != pa.string():
        column = column.cast(pa.string(), safe=False)
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raw = column.view(pa.binary()).to_pylist()
        texts = [None if value is None else value.decode("utf-8", "replace") for value in raw]
        there = sum(value.count(b"\xef\xbf\xbd") for value in raw if value is not None)
        return pa.array(texts, pa.string()), sum(text.count("\ufffd") for text in texts if text is not None) - there
    return column, 0


def cut_rows(column: pa.Array, file: str, first: int, row: int, part: int) -> Iterator[Cut]:
    """The documents of a column of strings, named `file:row`, counted from 1, in batches of about BATCH_BYTES.

    first: number of the column's first row in its file. row, part: where to begin; what is before is left out
    without changing where batches end. A null is no document.
    """
    ends = _ends(column)
    begin, rows = 0, len(column)
    while begin < rows:
        before = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, before + BATCH_BYTES, "right")), begin + 1)
        if ends[begin] - before > text_chunks.PART_BYTES:
            end = begin + 1
            if first + end > row:
                yield from _parts(column[begin], file, first + begin, part if first + begin == row else 0)
        else:
            # a long row stands alone, in parts
            long = np.flatnonzero(np.diff(ends[begin:end], prepend=before) > text_chunks.PART_BYTES)
            end = begin + int(long[0]) if len(long) else end
            if first + end > row:
                skip = max(row - first - begin, 0)
                yield Cut(_batch(column[begin + skip : end], file, first + begin + skip), first + end, 0)
        begin = end


def _ends(column: pa.Array) -> np.ndarray:
    """Bytes of text up to the end of each row: (rows,)."""
    lengths = pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
    return np.cumsum(lengths, dtype=np.int64)


def _batch(texts: pa.Array, file: str, first: int) -> pa.RecordBatch:
    numbers = pc.cast(pa.array(np.arange(first + 1, first + 1 + len(texts))), pa.string())
    names = pc.binary_join_element_wise(pa.scalar(file), numbers, ":")
    batch = pa.RecordBatch.from_arrays([names, pa.array(np.zeros(len(texts), np.int32)), texts], schema=SCHEMA)
    return batch.filter(pc.is_valid(texts)) if texts.null_count else batch


def _parts(text: pa.Scalar, file: str, row: int, start: int) -> Iterator[Cut]:
    data = text.as_buffer()
    end = 0
    for number, batch in enumerate(split_document(f"{file}:{row + 1}", data)):
        end += len(batch.column("text")[0].as_buffer())
        if number >= start:
            yield Cut(batch, row, number + 1) if end < len(data) else Cut(batch, row + 1, 0)
