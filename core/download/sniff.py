"""Detects the format, encoding and text column of each file of a source before any is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from core.download import json_layout
from core.download.arrow_file import arrow_columns, read_arrow
from core.download.batches import (
    EMPTY_BATCH,
    DocumentBatch,
    FilePosition,
    make_part_batch,
    skip_emitted,
    split_document,
)
from core.download.compression import ByteStream, FileStream
from core.download.csv_tables import TableFormat, parse_rows, read_table, text_lines
from core.download.discover import SourceFile, UnreadableError
from core.download.encoding import TranscodedStream, first_non_ascii
from core.download.formats import Format, Kind, format_of
from core.download.html import HTML_BYTES, TOO_LARGE, declared_encoding, read_html
from core.download.json_layout import LINES, VALUES, Layout, RecordLines, detect_layout, parse_prefix
from core.download.json_lines import BOM, read_json_lines
from core.download.line_blocks import RECORD_BYTES
from core.download.parquet import parquet_columns, read_parquet
from core.download.sniff_records import infer_json_columns, occurs_anywhere, sample_lines
from core.download.sniff_table import infer_table, is_number
from core.download.text_chunks import read_text_chunks
from core.download.text_column import Columns, ColumnStats, TextColumnError, choose_column
from core.processes.progress import PROGRESS_INTERVAL
from core.recipe.schema import Source
from core.storage.files import codec_named
from core.text_encoding import SAMPLE_BYTES, detect_encoding

_ASCII_BYTES = 8 * 2**20
"""Bytes searched for the first non-ASCII text, which distinguishes encodings."""


class SniffedFile(NamedTuple):
    """A file of a source, and how to read it."""

    file: SourceFile
    format: Format
    skip_reason: str = ""
    """Why the file is skipped; empty if it is read."""
    encoding: str = ""
    columns: tuple[str, ...] = ()
    """Columns that may hold the text."""
    column: str | None = None
    """The text column; None for formats without columns, and for records that are strings."""
    nested: bool = False
    """Whether `column` leads into objects or lists."""
    listed: bool = False
    """Whether a record may have several texts in it, which become lines of one document."""
    first: str = ""
    """The beginning of the first text."""
    table: TableFormat | None = None
    """Format of a CSV or TSV table."""
    layout: Layout = LINES
    """Layout of the records of a JSON file."""

    @property
    def of_records(self) -> bool:
        """Whether the file consists of records."""
        return self.format.kind not in ("text", "html")


def sniff_file(file: SourceFile, recipe: Source) -> SniffedFile:
    """Determine how to read `file`, or why it is skipped. Raises TextColumnError."""
    sniffed = SniffedFile(file, format_of(file.name), file.skip_reason)
    if sniffed.skip_reason:
        return sniffed
    try:
        if sniffed.format.kind in ("parquet", "arrow"):
            return _sniff_columnar(sniffed, recipe.column)
        with FileStream(file.path, file.size, sniffed.format.compression) as stream:
            return _sniff_text(sniffed, stream, recipe)
    except UnreadableError as error:
        return sniffed._replace(skip_reason=error.what)


def _sniff_columnar(sniffed: SniffedFile, column: str) -> SniffedFile:
    if sniffed.format.compression:
        return sniffed._replace(skip_reason="compressed once more than it is by itself: unpack it first")
    if not sniffed.file.size:
        return sniffed
    path = sniffed.file.path
    columns = parquet_columns(path) if sniffed.format.kind == "parquet" else arrow_columns(path)
    return _with_column(sniffed, columns, column)


def _with_column(sniffed: SniffedFile, columns: Columns, requested: str, *, alone: bool = False) -> SniffedFile:
    column = columns.choose_column(requested, sniffed.file.name, alone=alone)
    stats = columns.stats(column)
    names = [name for name, other in columns.text_columns.items() if other.texts or name == column]
    return sniffed._replace(
        columns=tuple(names), column=column, nested=stats.nested, listed=stats.listed, first=stats.first
    )


def _sniff_text(sniffed: SniffedFile, stream: FileStream, recipe: Source) -> SniffedFile:
    kind, file = sniffed.format.kind, sniffed.file
    head = stream.read(SAMPLE_BYTES)
    if stream.damage and not head:
        return sniffed._replace(skip_reason=stream.damage)
    declared = codec_named(recipe.encoding)
    encoding = _encoding(kind, head, b"" if declared else _read_second_sample(sniffed, stream, head), declared)
    if not encoding:
        return sniffed._replace(skip_reason="binary")
    sniffed = sniffed._replace(encoding=encoding)
    if kind == "html" and not sniffed.format.compression and file.size > HTML_BYTES:
        return sniffed._replace(skip_reason=TOO_LARGE)
    if not head or not sniffed.of_records:
        return sniffed
    return _sniff_json(sniffed, recipe.column) if kind in ("json", "jsonl") else _sniff_table(sniffed, recipe)


def _sniff_json(sniffed: SniffedFile, requested: str) -> SniffedFile:
    lines = sniffed.format.kind == "jsonl"
    with _open_utf8(sniffed) as stream:
        head = stream.read(json_layout.HEAD_BYTES)
        layout = detect_layout(head, whole=stream.at_end(), lines=lines)
        if layout is not None and (layout.columns or layout == VALUES) and not stream.at_end():
            head += stream.read(RECORD_BYTES)  # a second column may start much later
            layout = detect_layout(head, whole=stream.at_end(), lines=lines)
        whole = stream.at_end()
    if layout is None:
        return sniffed._replace(skip_reason="it is no JSON")
    if layout.columns and not whole:
        why = f"its columns follow one another in more than {RECORD_BYTES // 2**20} MiB: write it as JSON lines"
        return sniffed._replace(skip_reason=why)
    if layout.columns:
        return _with_text_lists(sniffed, layout, parse_prefix(head.removeprefix(BOM)), requested)
    sniffed = sniffed._replace(layout=layout)
    with _open_utf8(sniffed) as stream:
        columns = infer_json_columns(_records(sniffed, stream), sniffed.file.size if _is_seekable(sniffed) else None)
    for path in layout.containers or ():  # the recipe may give the path from the outermost object
        if path and requested not in columns.text_columns and requested.startswith(prefix := f"{'.'.join(path)}."):
            requested = requested.removeprefix(prefix)
            sniffed = sniffed._replace(layout=Layout(frozenset([path])))
    try:
        return _with_column(
            sniffed, columns, requested, alone=layout.containers is None and columns.records == 1 and not layout.lines
        )
    except TextColumnError:
        with _open_utf8(sniffed) as stream:
            if (
                not requested
                or requested in columns.other_columns
                or not occurs_anywhere(_records(sniffed, stream), requested)
            ):
                raise
        return sniffed._replace(columns=(*columns.text_columns, requested), column=requested, nested=True)


def _with_text_lists(sniffed: SniffedFile, layout: Layout, value: Any, requested: str) -> SniffedFile:
    """A file that is one object with lists of texts, one of which is selected."""
    columns = Columns()
    for path in layout.containers or ():
        held = value.get(path[0])
        for text in held.values() if isinstance(held, dict) else held or ():
            columns.add_record({path[0]: text})
    sniffed = _with_column(sniffed, columns, requested)
    return sniffed._replace(layout=Layout(frozenset([(str(sniffed.column),)]), columns=True))


def _sniff_table(sniffed: SniffedFile, recipe: Source) -> SniffedFile:
    columns, numbers = Columns(), Columns()
    table: TableFormat | None = None
    with _open_utf8(sniffed) as stream:
        for sample in sample_lines(stream, sniffed.file.size if _is_seekable(sniffed) else None):
            text, _ = text_lines(b"\n".join(sample).removeprefix(BOM))
            if table is None:
                tsv = sniffed.format.kind == "tsv"
                table = infer_table(text, tsv=tsv, requested=recipe.column, header=recipe.header)
                text = text[table.skip :]
            for row in parse_rows(text, table.dialect, len(table.names), final=True).rows:
                if len(row.cells) == len(table.names):
                    for name, cell in zip(table.names, row.cells, strict=True):
                        (numbers if is_number(cell) else columns).add_record({name: cell})
    assert table is not None
    for name in table.names:
        counted = numbers.text_columns.get(name, ColumnStats())
        if columns.text_columns.setdefault(name, ColumnStats()).texts <= counted.texts // 10 and counted.texts:
            columns.other_columns[name] = None
    # numbers are text if the recipe or the column name says so
    rest = {name: stats for name, stats in columns.text_columns.items() if name not in columns.other_columns}
    column = choose_column(
        recipe.column, columns.text_columns if recipe.column else rest or numbers.text_columns, (), sniffed.file.name
    )
    stats = (
        columns.text_columns[column]
        if columns.text_columns[column].texts
        else numbers.text_columns.get(column, ColumnStats())
    )
    return sniffed._replace(columns=table.names, column=column, first=stats.first, table=table)


def _is_seekable(sniffed: SniffedFile) -> bool:
    """Whether the file can be read from any offset."""
    return not sniffed.format.compression and sniffed.encoding == "utf-8" and sniffed.layout.lines


@contextlib.contextmanager
def _open_utf8(sniffed: SniffedFile) -> Iterator[ByteStream]:
    """The file's text as UTF-8. Raises UnreadableError, EncodingError."""
    with FileStream(sniffed.file.path, sniffed.file.size, sniffed.format.compression) as stream:
        yield _as_utf8(stream, sniffed.encoding, sniffed.file.name)


def _records(sniffed: SniffedFile, stream: ByteStream) -> ByteStream:
    """The records of a JSON file, one a line."""
    return stream if sniffed.layout.lines else RecordLines(stream, sniffed.layout.containers)


def _read_second_sample(sniffed: SniffedFile, stream: FileStream, head: bytes) -> bytes:
    """A second sample of a file after `head`: around the first non-ASCII text, or from the middle."""
    if head.isascii() and (sample := first_non_ascii(stream, _ASCII_BYTES)):
        return b"\n" + sample
    here, middle = len(head) + (_ASCII_BYTES if head.isascii() else 0), sniffed.file.size // 2
    if sniffed.format.compression or middle < max(here, 2 * SAMPLE_BYTES):
        return b""
    stream.skip(middle - here)
    return stream.read(SAMPLE_BYTES)


def _encoding(kind: Kind, head: bytes, more: bytes, encoding: str) -> str:
    if kind == "html":
        return declared_encoding(head, encoding)
    # a NUL makes a record invalid, not the file
    return detect_encoding(head, more, max_nul_share=0.0 if kind == "text" else 0.1, declared=encoding)


def _as_utf8(stream: FileStream, encoding: str, name: str) -> FileStream | TranscodedStream:
    return stream if encoding == "utf-8" else TranscodedStream(stream, encoding, name)


def read(sniffed: SniffedFile, position: FilePosition) -> Iterator[DocumentBatch]:
    """Read the documents of a file from position `position`.

    Raises UnreadableError if it cannot be read to its end, EncodingError.
    """
    file, kind = sniffed.file, sniffed.format.kind
    if kind in ("parquet", "arrow"):
        if sniffed.column is not None:
            read_columns = read_parquet if kind == "parquet" else read_arrow
            yield from read_columns(file.name, file.path, file.size, sniffed.column, position)
        return
    with FileStream(file.path, file.size, sniffed.format.compression) as stream:
        if kind == "text":
            yield from _read_text(sniffed, stream, position)
        elif kind == "html":
            yield from _read_page(sniffed, stream, position)
        else:
            utf8 = _as_utf8(stream, sniffed.encoding, file.name)
            records: ByteStream = utf8
            if sniffed.table is not None and sniffed.column is not None:
                batches = read_table(file.name, records, sniffed.table, sniffed.column, position)
            elif sniffed.table is None:
                records = _records(sniffed, records)
                column = None if sniffed.layout.columns else sniffed.column
                batches = read_json_lines(file.name, records, column, position, nested=sniffed.nested)
            else:
                return
            for step in batches:
                position = step.position
                yield step
            if isinstance(utf8, TranscodedStream) and utf8.replaced:
                yield DocumentBatch(EMPTY_BATCH, position, stream.consumed, utf8.replaced)
            if records.damage and not stream.damage:
                raise UnreadableError(records.damage, where=str(file.path))
        if stream.damage:
            raise UnreadableError(stream.damage, where=str(file.path))


def _read_text(sniffed: SniffedFile, stream: FileStream, position: FilePosition) -> Iterator[DocumentBatch]:
    part = position.part
    for piece in read_text_chunks(stream, sniffed.encoding, position.offset, position.state, where=sniffed.file.name):
        batch = make_part_batch(sniffed.file.name, part, piece.text)
        part += 1
        yield DocumentBatch(
            batch, FilePosition(offset=piece.end, part=part, state=piece.state), stream.consumed, piece.replaced
        )


def _read_page(sniffed: SniffedFile, stream: FileStream, position: FilePosition) -> Iterator[DocumentBatch]:
    # a large page takes seconds; the caller must be able to stop meanwhile
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(read_html, stream, sniffed.encoding, str(sniffed.file.path))
        while not wait([work], max(PROGRESS_INTERVAL, 0.05)).done:
            yield DocumentBatch(EMPTY_BATCH, position, 0)
        text, replaced = work.result()
    if text.strip():
        batches = list(split_document(sniffed.file.name, text.encode()))
        counts = DocumentBatch(EMPTY_BATCH, position, 0, replaced)
        yield from skip_emitted(batches, position, FilePosition(part=len(batches)), stream.consumed, counts)
