"""Documents out of Parquet tables, whole batches at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.download.columns import is_text, repaired
from core.download.compression import CUT_OFF
from core.download.listing import Unreadable, reason
from core.download.rows import NOTHING, Place, Step, batches_of, steps

_BATCH_BYTES = 4 * 2**20
"""Text aimed at in a batch, by the mean of its row group."""
_BATCH_ROWS = 2**14
_PAGE_BYTES = 2**20
"""Read ahead in a column, instead of all that a row group has of it."""


def text_columns(path: Path) -> tuple[list[str], list[str]]:
    """The columns that hold text, and the others. Raises Unreadable where the file is none or has lost its end."""
    with _open(path) as file:
        schema = file.schema_arrow
        texts = [field.name for field in schema if is_text(field.type)]
        return texts, [field.name for field in schema if not is_text(field.type)]


def read_parquet(name: str, path: Path, size: int, column: str, at: Place) -> Iterator[Step]:
    """The texts of a column. Documents are named `name:row`, counted from 1. Raises Unreadable."""
    with _open(path) as file:
        meta = file.metadata
        weights = np.array([meta.row_group(index).total_byte_size for index in range(meta.num_row_groups)], dtype=float)
        shares = (np.concatenate([[0.0], np.cumsum(weights) / max(1.0, weights.sum())]) * size).tolist()
        row = 0
        for index in range(meta.num_row_groups):
            group = meta.row_group(index)
            if row + group.num_rows <= at.offset:
                row += group.num_rows
                continue
            first = row
            for batch in _batches(file, path, index, column, _rows(group)):
                end = row + batch.num_rows
                consumed = shares[index] + (shares[index + 1] - shares[index]) * (end - first) / group.num_rows
                if end > at.offset:
                    start = Place(offset=row, part=at.part if row == at.offset else 0)
                    yield from _given(name, batch.column(0), start, Place(offset=end), consumed)
                row = end


def _given(name: str, texts: Any, start: Place, behind: Place, consumed: float) -> Iterator[Step]:
    texts = pc.cast(texts, pa.string())
    numbers = pa.array(np.arange(start.offset + 1, start.offset + 1 + len(texts)))
    full = pc.fill_null(pc.greater(pc.binary_length(texts), 0), False)
    said = Step(NOTHING, behind, consumed, empty=len(texts) - (pc.sum(full).as_py() or 0))
    if said.empty:
        texts, numbers = texts.filter(full), numbers.filter(full)
    texts, replaced = repaired(texts)
    yield from steps(batches_of(name, numbers, texts), start, behind, consumed, said._replace(replaced=replaced))


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
        raise Unreadable(what, where=str(path)) from None
    except OSError as error:
        what = reason(error) if error.errno is not None else f"its Parquet footer is damaged ({error})"
        raise Unreadable(what, where=str(path)) from None


def _batches(file: Any, path: Path, index: int, column: str, rows: int) -> Iterator[Any]:
    try:
        yield from file.iter_batches(batch_size=rows, row_groups=[index], columns=[column], use_threads=False)
    except pa.ArrowException as error:
        raise Unreadable(f"its data is damaged ({error})", where=str(path)) from None
    except OSError as error:
        what = reason(error) if error.errno is not None else f"its data is damaged ({error})"
        raise Unreadable(CUT_OFF if "end of" in what.lower() else what, where=str(path)) from None
