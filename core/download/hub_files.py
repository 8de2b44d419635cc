"""Data files of the hub, read where they are: a column of text, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

BLOCK_BYTES = 16 * 2**20
"""Asked for in one request: the hub sends each on to another host, which takes some 0.3 s."""
DECODE_BYTES = 4 * 2**20
"""Text decoded at a time, about: rows of 65 bytes come in thousands, whole books singly."""
RUN_BYTES = 16 * 2**20
"""Text of row groups that are read together: there are files with 65 kB in each of 7,400 groups."""
_MOST_ROWS = 65_536
_CSV_ROWS = 500
# not pre-buffered: that holds a whole row group, which may be a thousand books
_STREAMING: dict[str, Any] = {"pre_buffer": False, "buffer_size": 2**20, "page_checksum_verification": True}


class DataFile(NamedTuple):
    """One data file of a commit."""

    path: str
    """In the repository."""
    url: str
    """hf://datasets/NAME@COMMIT/PATH."""
    size: int
    """Bytes, as the hub lists it."""


class Piece(NamedTuple):
    """Some rows of a data file."""

    column: pa.Array
    first: int
    """Row of the file."""
    rows: int | None
    """Of the whole file; None where nobody knows."""


def column_types(builder: Any, split: str, file: DataFile) -> dict[str, pa.DataType]:
    """The columns of `file` and what they hold, from its beginning."""
    if builder.name == "parquet":
        with _open(file) as raw:
            schema = pq.read_schema(raw)
    else:
        schema = next(_tables(builder, split, file)).schema
    return dict(zip(schema.names, schema.types, strict=True))


def read_file(builder: Any, split: str, file: DataFile, column: str, row: int) -> Iterator[Piece]:
    """The rows of a file, from some row at or before `row`, in pieces whose borders do not depend on `row`.

    At most some RUN_BYTES of text are held, or one row where that is longer. Raises what Arrow, `datasets` and
    `huggingface_hub` raise.
    """
    if builder.name == "parquet":
        return _parquet(file, column, row)
    return _other(builder, split, file, column)


def _parquet(file: DataFile, column: str, row: int) -> Iterator[Piece]:
    with _open(file) as raw, pq.ParquetFile(raw, **_STREAMING) as table:
        rows = table.metadata.num_rows
        first = 0
        for run, there, size in _runs(table.metadata):
            if first + there <= row:
                first += there
                continue
            at_once = max(1, min(_MOST_ROWS, there * DECODE_BYTES // max(size, 1)))
            end = first + there
            held: list[pa.Array] = []
            for batch in table.iter_batches(at_once, run, [column], use_threads=False):
                held.append(batch.column(0))
                first += batch.num_rows
                # batches end with their row group, however small that is
                if first == end or sum(each.nbytes for each in held) >= DECODE_BYTES:
                    whole = pa.concat_arrays(held)
                    held = []
                    yield Piece(whole, first - len(whole), rows)
            if first != end:
                raise ValueError(f"{end - first:,} of its {rows:,} rows are missing")


def _runs(metadata: Any) -> Iterator[tuple[list[int], int, int]]:
    """Neighbouring row groups that together have some RUN_BYTES: their numbers, rows and bytes.

    Of all columns: asking a damaged footer for one of them ends the process (pyarrow 26, an exception nobody catches).
    """
    run: list[int] = []
    rows = size = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        run.append(number)
        rows += group.num_rows
        size += group.total_byte_size
        if size >= RUN_BYTES:
            yield run, rows, size
            run, rows, size = [], 0, 0
    if run:
        yield run, rows, size


def _other(builder: Any, split: str, file: DataFile, column: str) -> Iterator[Piece]:
    first = 0
    for table in _tables(builder, split, file):
        if column not in table.column_names:
            raise ValueError(f"there is no column {column!r} from row {first:,} on")
        for chunk in table.column(column).chunks:
            yield Piece(chunk, first, None)
            first += len(chunk)


def _tables(builder: Any, split: str, file: DataFile) -> Iterator[pa.Table]:
    """One file as `datasets` reads it, in its own portions of some 10 MB."""
    from datasets.data_files import DataFilesDict, DataFilesList

    builder.config.data_files = DataFilesDict({split: DataFilesList([file.url], [()])})
    if builder.name == "csv":
        builder.config.chunksize = _CSV_ROWS  # of 10,000 rows, which may be long
    # not `iter(batch_size=…)`, which would put so many rows together however long they are
    for _, table in builder.as_streaming_dataset(split=split)._ex_iterable.iter_arrow():
        yield table


def _open(file: DataFile) -> Any:
    from huggingface_hub import HfFileSystem, constants

    files = HfFileSystem(endpoint=constants.ENDPOINT)
    return files.open(file.url, "rb", block_size=BLOCK_BYTES, size=file.size or None)
