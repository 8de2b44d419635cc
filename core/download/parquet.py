"""Documents from local Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.download.arrow_tables import column_root, column_to_batches, infer_columns
from core.download.arrow_types import may_contain_text, sample_rows
from core.download.batches import DocumentBatch, FilePosition
from core.download.compression import TRUNCATED
from core.download.discover import UnreadableError, os_error_reason
from core.download.parquet_column import STREAMING, ColumnChunk, read_parquet_column
from core.download.text_column import Columns

_SAMPLE_BATCH_BYTES = 4 * 2**20
"""Approximate bytes of text per sampled batch, by the mean of its row group."""
_BATCH_ROWS = 2**14
_GROUPS, _ROWS = 5, 64
"""Row groups, evenly spaced, and rows of each that are sampled to find the text column."""
_SAMPLE_BYTES = 2**26
"""Bytes sampled at most to find values of a column that has only nulls so far."""


def parquet_columns(path: Path) -> Columns:
    """The columns of a table. Raises UnreadableError if the file is not Parquet or truncated."""
    with _open(path) as file:
        return infer_columns(file.schema_arrow, _samples(file))


def _samples(file: Any) -> Iterator[pa.RecordBatch]:
    names = [field.name for field in file.schema_arrow if may_contain_text(field.type)]
    groups = file.metadata.num_row_groups
    lacking, size = set(names), 0
    for index in sorted({number * (groups - 1) // max(1, _GROUPS - 1) for number in range(_GROUPS)} if groups else ()):
        try:
            rows = _rows(file.metadata.row_group(index))
            for batch in file.iter_batches(rows, row_groups=[index], columns=names, use_threads=False):
                yield from sample_rows(batch, _ROWS)
                lacking -= {name for name in lacking if batch.column(name).null_count < batch.num_rows}
                size += batch.nbytes
                if not lacking or size > _SAMPLE_BYTES:
                    break
        except (pa.ArrowException, OSError, KeyError):
            continue  # reported when the file is read


def read_parquet(name: str, path: Path, size: int, column: str, position: FilePosition) -> Iterator[DocumentBatch]:
    """The texts of a column, as documents named `name:row`, rows counted from 1. Raises UnreadableError.

    size: of the file, in bytes. column: a path, which may lead into structs and lists.
    """
    with _open(path) as file:
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        rows = np.cumsum([0, *(group.num_rows for group in groups)])
        bytes_read = np.cumsum([0.0, *(group.total_byte_size for group in groups)])
        root = column_root(file.schema_arrow.names, column)
        nested_path = column[len(root) + 1 :].split(".") if column != root else []
        for chunk in _chunks(file, path, root, position.offset):
            rest = chunk.after(position.offset)
            if not len(rest.column):
                continue
            end = rest.first + len(rest.column)
            consumed = float(np.interp(end, rows, bytes_read)) / max(1.0, bytes_read[-1]) * size
            start = FilePosition(offset=rest.first, part=position.part if rest.first == position.offset else 0)
            stop = FilePosition(offset=end)
            yield from column_to_batches(name, rest.column, nested_path, start, stop, float(consumed))


def _rows(group: Any) -> int:
    """Rows of a row group that hold about 4 MiB.

    Of all columns: asking a damaged footer for one column aborts the process (pyarrow 26, an uncaught C++ exception).
    """
    mean = group.total_byte_size / max(1, group.num_rows)
    return int(min(_BATCH_ROWS, max(1, _SAMPLE_BATCH_BYTES // max(1, mean))))


def _open(path: Path) -> Any:
    try:
        return pq.ParquetFile(path, **STREAMING, memory_map=False)
    except pa.ArrowException as error:
        cut = "Parquet magic bytes not found" in str(error)
        what = "it is no Parquet file, or its end is missing" if cut else f"its Parquet footer is damaged ({error})"
        raise UnreadableError(what, where=str(path)) from None
    except OSError as error:
        what = os_error_reason(error) if error.errno is not None else f"its Parquet footer is damaged ({error})"
        raise UnreadableError(what, where=str(path)) from None


def _chunks(file: Any, path: Path, column: str, row: int) -> Iterator[ColumnChunk]:
    try:
        yield from read_parquet_column(file, column, row)
    except pa.ArrowException as error:
        raise UnreadableError(f"its data is damaged ({error})", where=str(path)) from None
    except OSError as error:
        what = os_error_reason(error) if error.errno is not None else f"its data is damaged ({error})"
        raise UnreadableError(TRUNCATED if "end of" in what.lower() else what, where=str(path)) from None
    except ValueError as error:
        raise UnreadableError(str(error), where=str(path)) from None
