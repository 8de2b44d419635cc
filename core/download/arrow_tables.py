"""Documents from Arrow tables: which columns contain text, and their texts."""

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
    """The table column that the path `column` starts with: one of `names`, which may contain dots."""
    return max((name for name in names if f"{column}.".startswith(f"{name}.")), key=len, default=column)


def infer_columns(schema: pa.Schema, samples: Iterable[pa.RecordBatch]) -> Columns:
    """Statistics of the columns of a table from `samples` of its rows."""
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
    """The values of a column; bytes that are not text become 0."""
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
    name: str,
    values: pa.Array,
    path: list[str],
    start: FilePosition,
    after: FilePosition,
    consumed: float,
    *,
    keep_empty: bool = False,
) -> Iterator[DocumentBatch]:
    """The texts at `path` in a column as documents named `name:row`, rows counted from 1.

    values: the rows from `start.offset` on. start: where its `part` is not 0, that many documents of these rows were
    returned before. after: the position after `values`. keep_empty: whether an empty text is a document; null is none.
    """
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    counts = DocumentBatch(EMPTY_BATCH, after, consumed, records=len(values))
    if path or not (is_text_type(values.type) or is_binary_type(values.type)):
        selected: list[str | None] = []
        for value in values.to_pylist():
            try:
                selected.append(text_in(value, path))
            except InvalidRecordError:
                selected.append(None)
        values = pa.array(selected, pa.string())
    texts, replaced = to_valid_utf8(values)
    numbers = pa.array(np.arange(start.offset + 1, start.offset + 1 + len(texts)))
    full = pc.is_valid(texts) if keep_empty else pc.fill_null(pc.greater(pc.binary_length(texts), 0), False)
    counts = counts._replace(replaced=replaced, empty=len(texts) - (pc.sum(full).as_py() or 0))
    if counts.empty:
        texts, numbers = texts.filter(full), numbers.filter(full)
    yield from skip_emitted(make_batches(name, numbers, texts), start, after, consumed, counts)
