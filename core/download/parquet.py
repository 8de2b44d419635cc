"""Documents out of Parquet tables, whole batches at a time."""

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
from core.download.text_column import Columns

_BATCH_BYTES = 4 * 2**20
"""Text aimed at in a batch, by the mean of its row group."""
_BATCH_ROWS = 2**14
_PAGE_BYTES = 2**20
"""Read ahead in a column, instead of all that a row group has of it."""
_GROUPS, _ROWS = 5, 64
"""Row groups spread over the file, and rows of a batch of each, that are looked at to find the column of text."""
_SAMPLE_BYTES = 2**26
"""Beyond which nobody looks further for the values of a column that has only nulls so far."""


def parquet_columns(path: Path) -> Columns:
    """The columns of a table. Raises UnreadableError where the file is none or has lost its end."""
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
            continue  # whoever reads it says so


def read_parquet(name: str, path: Path, size: int, column: str, at: FilePosition) -> Iterator[DocumentBatch]:
    """The texts of a column. Documents are named `name:row`, counted from 1. Raises UnreadableError."""
    with _open(path) as file:
        meta = file.metadata
        root = column_root(file.schema_arrow.names, column)
        inside = column[len(root) + 1 :].split(".") if column != root else []
        weights = np.array([meta.row_group(index).total_byte_size for index in range(meta.num_row_groups)], dtype=float)
        shares = (np.concatenate([[0.0], np.cumsum(weights) / max(1.0, weights.sum())]) * size).tolist()
        row = 0
        for index in range(meta.num_row_groups):
            group = meta.row_group(index)
            if row + group.num_rows <= at.offset:
                row += group.num_rows
                continue
            first = row
            for batch in _batches(file, path, index, root, _rows(group)):
                end = row + batch.num_rows
                consumed = shares[index] + (shares[index + 1] - shares[index]) * (end - first) / group.num_rows
                if end > at.offset:
                    start = FilePosition(offset=row, part=at.part if row == at.offset else 0)
                    yield from column_to_batches(
                        name, batch.column(0), inside, start, FilePosition(offset=end), consumed
                    )
                row = end
            if row != first + group.num_rows:
                raise UnreadableError(
                    f"{first + group.num_rows - row:,} of its rows are missing from row {row:,} on", where=str(path)
                )


def _rows(group: Any) -> int:
    """Rows of a row group that hold some 4 MiB.

    Of all columns: asking a damaged footer for one of them ends the process (pyarrow 26, an exception nobody catches).
    """
    mean = group.total_byte_size / max(1, group.num_rows)
    return int(min(_BATCH_ROWS, max(1, _BATCH_BYTES // max(1, mean))))


def _open(path: Path) -> Any:
    try:
        return pq.ParquetFile(path, buffer_size=_PAGE_BYTES, pre_buffer=False, memory_map=False)
    except pa.ArrowException as error:
        cut = "Parquet magic bytes not found" in str(error)
        what = "it is no Parquet file, or its end is missing" if cut else f"its Parquet footer is damaged ({error})"
        raise UnreadableError(what, where=str(path)) from None
    except OSError as error:
        what = os_error_reason(error) if error.errno is not None else f"its Parquet footer is damaged ({error})"
        raise UnreadableError(what, where=str(path)) from None


def _batches(file: Any, path: Path, index: int, column: str, rows: int) -> Iterator[Any]:
    try:
        yield from file.iter_batches(batch_size=rows, row_groups=[index], columns=[column], use_threads=False)
    except pa.ArrowException as error:
        raise UnreadableError(f"its data is damaged ({error})", where=str(path)) from None
    except OSError as error:
        what = os_error_reason(error) if error.errno is not None else f"its data is damaged ({error})"
        raise UnreadableError(TRUNCATED if "end of" in what.lower() else what, where=str(path)) from None
