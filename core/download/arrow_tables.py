"""Documents out of tables as Arrow holds them: which columns hold text, and their texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.download.arrow_types import is_binary_type, is_text_type, may_contain_text, to_valid_utf8
from core.download.batches import EMPTY_BATCH, DocumentBatch, FilePosition, make_batches, skip_emitted
from core.download.text_column import Columns, ColumnStats, InvalidRecordError, text_in


def column_root(names: Iterable[str], column: str) -> str:
    """The column of a table in which the path `column` begins: one of `names`, which may have dots of their own."""
    return max((name for name in names if f"{column}.".startswith(f"{name}.")), key=len, default=column)


def infer_columns(schema: pa.Schema, samples: Iterable[pa.RecordBatch]) -> Columns:
    """The columns of a table and what `samples` of its rows hold."""
    columns = Columns()
    for field in schema:
        if is_text_type(field.type):
            columns.text_columns[field.name] = ColumnStats()
        elif not may_contain_text(field.type):
            columns.other_columns[field.name] = None
    for batch in samples:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for value in _values(column):
                columns.add_record({name: value})
    return columns


def _values(column: pa.Array) -> list[Any]:
    """Some rows of a column. Bytes that are no text are numbers here, which nobody takes for one."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if is_text_type(column.type):
        return list(to_valid_utf8(column)[0].to_pylist())
    try:
        return [_plain(value) for value in column.to_pylist()]
    except (ValueError, pa.ArrowException):
        return []


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode() if b"\0" not in value else 0
    except UnicodeDecodeError:
        return 0


def column_to_batches(
    name: str, values: pa.Array, path: list[str], start: FilePosition, after: FilePosition, consumed: float
) -> Iterator[DocumentBatch]:
    """The steps that hand out the texts at `path` in a column, named `name:row`, counted from 1."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    counts = DocumentBatch(EMPTY_BATCH, after, consumed, records=len(values))
    if path or not (is_text_type(values.type) or is_binary_type(values.type)):
        found: list[str | None] = []
        for value in values.to_pylist():
            try:
                found.append(text_in(value, path))
            except InvalidRecordError:
                found.append(None)
        values = pa.array(found, pa.string())
    texts, replaced = to_valid_utf8(values)
    numbers = pa.array(np.arange(start.offset + 1, start.offset + 1 + len(texts)))
    full = pc.fill_null(pc.greater(pc.binary_length(texts), 0), False)
    counts = counts._replace(replaced=replaced, empty=len(texts) - (pc.sum(full).as_py() or 0))
    if counts.empty:
        texts, numbers = texts.filter(full), numbers.filter(full)
    yield from skip_emitted(make_batches(name, numbers, texts), start, after, consumed, counts)
