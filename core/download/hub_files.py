"""Reads one text column of the data files of a hub data set, some rows at a time, without storing the files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from core.download.parquet_column import STREAMING, ColumnChunk, merge_arrays, read_parquet_column

BLOCK_BYTES = 16 * 2**20
"""Size of one range request: the hub redirects each of them to another host, which takes about 0.3 s."""
_BATCH_ROWS = 64
"""Rows per table of the formats that `datasets` reads: 64 books of 0.5 MB are 32 MB."""
_CSV_ROWS = 500


class DataFile(NamedTuple):
    """One data file of a commit."""

    path: str
    """Path in the repository."""
    url: str
    """hf://datasets/NAME@COMMIT/PATH."""
    size: int
    """Bytes, according to the hub's listing."""


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
    with _open(file) as raw, pq.ParquetFile(raw, **STREAMING, page_checksum_verification=True) as table:
        yield from read_parquet_column(table, column, row, merge_groups=True)


def _read_tables(tables: Iterator[pa.Table], column: str) -> Iterator[ColumnChunk]:
    first = 0

    def arrays() -> Iterator[pa.Array]:
        row = 0
        for table in tables:
            if column not in table.column_names:
                raise ValueError(f"there is no column {column!r} from row {row:,} on")
            yield from table.column(column).chunks
            row += table.num_rows

    for values in merge_arrays(arrays()):
        yield ColumnChunk(values, first, None)
        first += len(values)


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
