"""Reads one text column of the data files of a hub data set, some rows at a time, without storing the files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

BLOCK_BYTES = 16 * 2**20
"""Size of one range request: the hub redirects each of them to another host, which takes about 0.3 s."""
DECODE_BYTES = 4 * 2**20
"""Approximate bytes of text decoded at a time: thousands of rows of 65 bytes, but single books."""
ROW_GROUP_BYTES = 16 * 2**20
"""Row groups are read together up to this size: some files have 7,400 groups of 65 kB."""
_MAX_ROWS = 65_536
_BATCH_ROWS = 64
"""Rows per table of the formats that `datasets` reads: 64 books of 0.5 MB are 32 MB."""
_CSV_ROWS = 500
# no pre-buffering: it would hold a whole row group, which may contain a thousand books
_STREAMING: dict[str, Any] = {"pre_buffer": False, "buffer_size": 2**20, "page_checksum_verification": True}


class DataFile(NamedTuple):
    """One data file of a commit."""

    path: str
    """Path in the repository."""
    url: str
    """hf://datasets/NAME@COMMIT/PATH."""
    size: int
    """Bytes, according to the hub's listing."""


class ColumnChunk(NamedTuple):
    """Consecutive values of a column of a data file."""

    column: pa.Array
    first: int
    """Row number of the first value in the file, from 0."""
    rows: int | None
    """Rows of the whole file; None if unknown."""


def column_types(builder: Any, split: str, file: DataFile) -> dict[str, pa.DataType]:
    """Names and types of the columns of `file`, read from its beginning."""
    if builder.name == "parquet":
        with _open(file) as raw:
            schema = pq.read_schema(raw)
    else:
        schema = next(_tables(builder, split, file)).schema
    return dict(zip(schema.names, schema.types, strict=True))


def read_column(builder: Any, split: str, file: DataFile, column: str, row: int) -> Iterator[ColumnChunk]:
    """Read a column of a file, starting at or before `row`. Where chunks end does not depend on `row`.

    Holds at most about ROW_GROUP_BYTES of text, or one row if that is longer. Raises the exceptions of Arrow,
    `datasets` and `huggingface_hub`.
    """
    if builder.name == "parquet":
        return _read_parquet(file, column, row)
    return _read_tables(_tables(builder, split, file), column)


def _read_parquet(file: DataFile, column: str, row: int) -> Iterator[ColumnChunk]:
    with _open(file) as raw, pq.ParquetFile(raw, **_STREAMING) as table:
        rows = table.metadata.num_rows
        first = 0
        for groups, group_rows, size in _row_group_ranges(table.metadata):
            if first + group_rows <= row:
                first += group_rows
                continue
            batch_rows = max(1, min(_MAX_ROWS, group_rows * DECODE_BYTES // max(size, 1)))
            end = first + group_rows
            batches = table.iter_batches(batch_rows, groups, [column], use_threads=False)
            # a batch ends at the end of its row group, however small that is
            for values in _merge(batch.column(0) for batch in batches):
                yield ColumnChunk(values, first, rows)
                first += len(values)
            if first != end:
                raise ValueError(f"{end - first:,} of its {rows:,} rows are missing")


def _row_group_ranges(metadata: Any) -> Iterator[tuple[list[int], int, int]]:
    """Consecutive row groups of about ROW_GROUP_BYTES together: their indices, rows and bytes.

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
        if size >= ROW_GROUP_BYTES:
            yield groups, rows, size
            groups, rows, size = [], 0, 0
    if groups:
        yield groups, rows, size


def _read_tables(tables: Iterator[pa.Table], column: str) -> Iterator[ColumnChunk]:
    first = 0

    def arrays() -> Iterator[pa.Array]:
        row = 0
        for table in tables:
            if column not in table.column_names:
                raise ValueError(f"there is no column {column!r} from row {row:,} on")
            yield from table.column(column).chunks
            row += table.num_rows

    for values in _merge(arrays()):
        yield ColumnChunk(values, first, None)
        first += len(values)


def _merge(arrays: Iterable[pa.Array]) -> Iterator[pa.Array]:
    """Concatenate consecutive arrays up to about DECODE_BYTES."""
    held: list[pa.Array] = []
    size = 0
    for array in arrays:
        held.append(array)
        size += array.nbytes
        if size >= DECODE_BYTES:
            yield pa.concat_arrays(held)
            held, size = [], 0
    if held:
        yield pa.concat_arrays(held)


def _tables(builder: Any, split: str, file: DataFile) -> Iterator[pa.Table]:
    """One file as tables of _BATCH_ROWS rows, read by `datasets`."""
    builder.config.data_files = {split: [file.url]}
    if builder.name == "csv":
        builder.config.chunksize = _CSV_ROWS  # the default of 10,000 rows may be gigabytes
    yield from builder.as_streaming_dataset(split=split).with_format("arrow").iter(batch_size=_BATCH_ROWS)


def _open(file: DataFile) -> Any:
    from huggingface_hub import HfFileSystem, constants

    files = HfFileSystem(endpoint=constants.ENDPOINT)
    return files.open(file.url, "rb", block_size=BLOCK_BYTES, size=file.size or None)
