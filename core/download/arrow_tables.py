"""Documents out of tables as Arrow holds them: which columns hold text, and their texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.download.batches import NOTHING, Place, Step, batches_of, steps
from core.download.column_batches import is_bytes, is_text, may_hold_text, repaired
from core.download.text_column import Columns, InvalidRecordError, Seen, text_in


def root_of(names: Iterable[str], column: str) -> str:
    """The column of a table in which the path `column` begins: one of `names`, which may have dots of their own."""
    return max((name for name in names if f"{column}.".startswith(f"{name}.")), key=len, default=column)


def columns_of(schema: pa.Schema, samples: Iterable[pa.RecordBatch]) -> Columns:
    """The columns of a table and what `samples` of its rows hold."""
    columns = Columns()
    for field in schema:
        if is_text(field.type):
            columns.found[field.name] = Seen()
        elif not may_hold_text(field.type):
            columns.others[field.name] = None
    for batch in samples:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for value in _values(column):
                columns.look({name: value})
    return columns


def _values(column: pa.Array) -> list[Any]:
    """Some rows of a column. Bytes that are no text are numbers here, which nobody takes for one."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if is_text(column.type):
        return list(repaired(column)[0].to_pylist())
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


def given(name: str, values: pa.Array, path: list[str], start: Place, behind: Place, consumed: float) -> Iterator[Step]:
    """The steps that hand out the texts at `path` in a column, named `name:row`, counted from 1."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    said = Step(NOTHING, behind, consumed, records=len(values))
    if path or not (is_text(values.type) or is_bytes(values.type)):
        found: list[str | None] = []
        for value in values.to_pylist():
            try:
                found.append(text_in(value, path))
            except InvalidRecordError:
                found.append(None)
        values = pa.array(found, pa.string())
    texts, replaced = repaired(values)
    numbers = pa.array(np.arange(start.offset + 1, start.offset + 1 + len(texts)))
    full = pc.fill_null(pc.greater(pc.binary_length(texts), 0), False)
    said = said._replace(replaced=replaced, empty=len(texts) - (pc.sum(full).as_py() or 0))
    if said.empty:
        texts, numbers = texts.filter(full), numbers.filter(full)
    yield from steps(batches_of(name, numbers, texts), start, behind, consumed, said)
