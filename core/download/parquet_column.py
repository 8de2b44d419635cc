"""Reads one column of a Parquet file in bounded memory, from a disk or over a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa

DECODE_BYTES = 4 * 2**20
"""Approximate bytes of text decoded at a time: thousands of rows of 65 bytes, but single books."""
ROW_GROUP_BYTES = 16 * 2**20
"""Row groups are read together up to this size: some files have 7,400 groups of 65 kB."""
MAX_ROWS = 65_536
# no pre-buffering: it would hold a whole row group, which may contain a thousand books
STREAMING: dict[str, Any] = {"pre_buffer": False, "buffer_size": 2**20}
"""Arguments of `pq.ParquetFile`."""


class ColumnChunk(NamedTuple):
    """Consecutive values of a column of a file."""

    column: pa.Array
    first: int
    """Row number of the first value in the file, from 0."""
    rows: int | None
    """Rows of the whole file; None if unknown."""

    def after(self, row: int) -> ColumnChunk:
        """The chunk without the values before `row`."""
        skip = min(max(0, row - self.first), len(self.column))
        return self._replace(column=self.column.slice(skip), first=self.first + skip)


def read_parquet_column(file: Any, column: str, row: int, *, merge_groups: bool = False) -> Iterator[ColumnChunk]:
    """Read a column of a `pq.ParquetFile`, starting at or before `row`. Where chunks end does not depend on `row`.

    merge_groups: whether small row groups are requested together, which saves round trips; an error in one of them
    then loses all of them. Holds at most about ROW_GROUP_BYTES of text, or one row if that is longer. Raises the
    exceptions of Arrow, and ValueError if rows are missing.
    """
    rows = file.metadata.num_rows
    first = 0
    for groups, group_rows, size in _row_group_ranges(file.metadata, ROW_GROUP_BYTES if merge_groups else 0):
        if first + group_rows <= row:
            first += group_rows
            continue
        batch_rows = max(1, min(MAX_ROWS, group_rows * DECODE_BYTES // max(size, 1)))
        end = first + group_rows
        batches = file.iter_batches(batch_rows, groups, [column], use_threads=False)
        # a batch ends at the end of its row group, however small that is
        for values in merge_arrays(batch.column(0) for batch in batches):
            yield ColumnChunk(values, first, rows)
            first += len(values)
        if first != end:
            raise ValueError(f"{end - first:,} of its {rows:,} rows are missing")


def _row_group_ranges(metadata: Any, limit: int) -> Iterator[tuple[list[int], int, int]]:
    """Consecutive row groups of about `limit` bytes together: their indices, rows and bytes.

    The bytes are those of all columns: asking a damaged footer for one column aborts the process (pyarrow 26, an
    uncaught C++ exception).
    """
    groups: list[int] = []
    rows = size = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        groups.append(index)
        rows += group.num_rows
        size += group.total_byte_size
        if size >= limit:
            yield groups, rows, size
            groups, rows, size = [], 0, 0
    if groups:
        yield groups, rows, size


def merge_arrays(arrays: Iterable[pa.Array]) -> Iterator[pa.Array]:
    """Concatenate consecutive arrays up to about DECODE_BYTES. Yields what it holds before it passes on an error."""
    held: list[pa.Array] = []
    size = 0
    try:
        for array in arrays:
            held.append(array)
            size += array.nbytes
            if size >= DECODE_BYTES:
                whole = _concat(held)
                held, size = [], 0
                yield whole
    except Exception:
        if held:
            yield _concat(held)
        raise
    if held:
        yield _concat(held)


def _concat(arrays: list[pa.Array]) -> pa.Array:
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)
