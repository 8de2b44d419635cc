"""Which Arrow types hold text, and text columns as valid UTF-8."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa


def is_text_type(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    kind = _plain(kind)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_binary_type(kind: pa.DataType) -> bool:
    """Whether a column of this type holds bytes, which may be text stored without a text type."""
    kind = _plain(kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def may_contain_text(kind: pa.DataType) -> bool:
    """Whether a column of this type may contain text, also inside lists and structs."""
    kind = _plain(kind)
    if pa.types.is_struct(kind):
        return any(may_contain_text(kind.field(number).type) for number in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return may_contain_text(kind.value_type)
    return is_text_type(kind) or is_binary_type(kind)


def sample_rows(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    """About `rows` evenly spaced rows of a batch, a slice each: Arrow cannot `take` from string views."""
    for row in range(0, batch.num_rows, max(1, batch.num_rows // rows)):
        yield batch.slice(row, 1)


def _plain(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def to_valid_utf8(column: pa.Array) -> tuple[pa.Array, int]:
    """The column as valid UTF-8 strings, and how many invalid sequences were replaced by U+FFFD."""
    if column.type != pa.string():
        column = column.cast(pa.string(), safe=False)
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raw = column.view(pa.binary()).to_pylist()
        texts = [None if value is None else value.decode("utf-8", "replace") for value in raw]
        present = sum(value.count(b"\xef\xbf\xbd") for value in raw if value is not None)
        return pa.array(texts, pa.string()), sum(text.count("\ufffd") for text in texts if text is not None) - present
    return column, 0
