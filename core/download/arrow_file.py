"""Documents from Arrow IPC files, streaming or with a footer, as `datasets` stores them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from core.download.arrow_tables import column_root, column_to_batches, infer_columns
from core.download.arrow_types import may_contain_text, sample_rows
from core.download.batches import EMPTY_BATCH, DocumentBatch, FilePosition
from core.download.compression import TRUNCATED
from core.download.discover import SourceFile, UnreadableError, os_error_reason
from core.download.text_column import Columns
from core.parsing import ParseError, read_json

_SAMPLED, _ROWS = 8, 64
"""Batches, evenly spaced, and rows of each that are sampled to find the text column."""
_SAMPLE_BYTES = 2**28
"""Bytes of the file that are sampled at most."""
_SLICE_BYTES = 4 * 2**20
_LISTS = ("state.json", "dataset_info.json", "dataset_dict.json")
"""Metadata files that `Dataset.save_to_disk` writes."""


def arrow_columns(path: Path) -> Columns:
    """The columns of a table. Raises UnreadableError if it is not an Arrow file."""
    with pa.OSFile(str(path)) as file:
        schema = _open(file, path).schema
        return infer_columns(schema, _samples(path, schema))


def _samples(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    names = [name for name, kind in zip(schema.names, schema.types, strict=True) if may_contain_text(kind)]
    every = 1
    try:
        with pa.OSFile(str(path)) as file:
            for number, batch in enumerate(_each(_open(file, path), path)):
                if number % every == 0 and batch.num_rows:
                    yield from sample_rows(batch.select(names), _ROWS)
                if number >= _SAMPLED * every:
                    every *= 2  # the number of batches of a stream is unknown
                if file.tell() > _SAMPLE_BYTES:
                    break
    except UnreadableError:
        return  # reported when the file is read


def read_arrow(name: str, path: Path, size: int, column: str, position: FilePosition) -> Iterator[DocumentBatch]:
    """The texts of a column. Documents are named `name:row`, counted from 1. Raises UnreadableError."""
    with pa.OSFile(str(path)) as file:
        reader = _open(file, path)
        root = column_root(reader.schema.names, column)
        nested_path = column[len(root) + 1 :].split(".") if column != root else []
        index = reader.schema.names.index(root)
        row = 0
        for batch in _each(reader, path):
            rows = max(1, int(batch.num_rows * _SLICE_BYTES // max(1, batch.column(index).nbytes)))
            consumed = min(float(file.tell()), size)
            for first in range(0, batch.num_rows, rows):
                values = batch.column(index).slice(first, rows)
                end = row + len(values)
                if end > position.offset:
                    start = FilePosition(offset=row, part=position.part if row == position.offset else 0)
                    yield from column_to_batches(name, values, nested_path, start, FilePosition(offset=end), consumed)
                row = end
        yield DocumentBatch(EMPTY_BATCH, FilePosition(offset=row), size)


def _open(file: pa.NativeFile, path: Path) -> Any:
    try:
        if file.read(6) == b"ARROW1":
            file.seek(0)
            return pa.ipc.open_file(file)
        file.seek(0)
        return pa.ipc.open_stream(file)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableError(f"it is no Arrow file, or its end is missing ({error})", where=str(path)) from None


def _each(reader: Any, path: Path) -> Iterator[pa.RecordBatch]:
    try:
        if isinstance(reader, pa.RecordBatchFileReader):
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
        else:
            yield from reader
    except pa.ArrowException as error:
        raise UnreadableError(f"its data is damaged ({error})", where=str(path)) from None
    except OSError as error:
        what = os_error_reason(error) if error.errno is not None else str(error)
        cut = "expected" in what.lower() or "end of" in what.lower()
        raise UnreadableError(TRUNCATED if cut else f"its data is damaged ({what})", where=str(path)) from None


def skip_dataset_metadata(files: list[SourceFile], split: str) -> list[SourceFile]:
    """Mark what is not data in the folders of `Dataset.save_to_disk` as skipped.

    split: the split to read if the folder has several.
    """
    arrow = {file.path.parent for file in files if file.name.lower().endswith(".arrow")}
    saved = {file.path.parent for file in files if file.name.endswith("dataset_dict.json")}
    listed = {folder: _data_files(folder) for folder in arrow}
    splits = {folder: _splits(folder) for folder in saved}

    def skip_reason(file: SourceFile) -> str:
        folder = file.path.parent
        if file.path.name in _LISTS and (folder in arrow or folder in saved):
            return "it describes the Arrow files beside it"
        siblings = splits.get(folder.parent, [])
        if folder.name in siblings and split in siblings and folder.name != split:
            return "of another split, which source.split chooses"
        if folder in arrow and (names := listed[folder]) and file.path.name not in names:
            return "it is not among the data files of the data set"
        return ""

    return [file if file.skip_reason else file._replace(skip_reason=skip_reason(file)) for file in files]


def _data_files(folder: Path) -> set[str]:
    files = _read_list(folder / "state.json", "_data_files")
    return {str(file.get("filename")) for file in files if isinstance(file, dict)}


def _splits(folder: Path) -> list[str]:
    return [str(name) for name in _read_list(folder / "dataset_dict.json", "splits")]


def _read_list(path: Path, name: str) -> list[Any]:
    """The list `name` in a JSON file; empty if there is none."""
    try:
        value = read_json(path, dict[str, Any]).get(name)
    except (OSError, ParseError):
        return []
    return value if isinstance(value, list) else []
