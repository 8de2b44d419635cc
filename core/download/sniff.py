"""A look at each file of a source before any is read: is it text, in which encoding, where in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from core.download import json_layout
from core.download.arrow_file import arrow_columns, read_arrow
from core.download.batches import NOTHING, Place, Step, batch_of_part, cut, steps
from core.download.compression import ByteStream, FileStream
from core.download.discover import Found, UnreadableError
from core.download.encoding import SAMPLE, TranscodedStream, detect_encoding, first_non_ascii
from core.download.formats import Format, Kind, format_of
from core.download.html import HTML_BYTES, TOO_LARGE, declared_encoding, read_html
from core.download.json_layout import LINES, VALUES, Layout, Values, beginning_of, layout_of
from core.download.lines import RECORD_BYTES
from core.download.parquet import parquet_columns, read_parquet
from core.download.reading import read_pieces
from core.download.records import BOM, read_json_lines
from core.download.sniff_records import columns_in, is_anywhere, lines_of
from core.download.sniff_table import is_number, table_of
from core.download.text_column import Columns, Seen, TextColumnError, choose
from core.download.text_tables import Table, parse, read_table, text_lines
from core.processes.progress import PROGRESS_INTERVAL
from core.recipe.schema import Source
from core.storage.files import codec_named

_ASCII_BYTES = 8 * 2**20
"""How far the first letters that tell encodings apart are looked for in a text that begins with ASCII alone."""


class Looked(NamedTuple):
    """One file of a source, and how to read it."""

    file: Found
    format: Format
    refused: str = ""
    """Why it cannot be used; empty for a good one."""
    encoding: str = ""
    columns: tuple[str, ...] = ()
    """Those the text may be in."""
    column: str | None = None
    """The one it is in; None for formats without columns, and for records that are texts themselves."""
    nested: bool = False
    """Whether that leads into objects or lists."""
    listed: bool = False
    """Whether a record may have several texts there, which become lines of one document."""
    first: str = ""
    """The beginning of the first text."""
    table: Table | None = None
    """How a table's rows are written."""
    layout: Layout = LINES
    """How the records of a JSON file lie in it."""

    @property
    def of_records(self) -> bool:
        """Whether it holds records."""
        return self.format.kind not in ("text", "html")


def look(file: Found, recipe: Source) -> Looked:
    """How to read `file`, or why it cannot be. Raises TextColumnError."""
    looked = Looked(file, format_of(file.name), file.refused)
    if looked.refused:
        return looked
    try:
        if looked.format.kind in ("parquet", "arrow"):
            return _look_at_columns(looked, recipe.column)
        with FileStream(file.path, file.size, looked.format.compression) as stream:
            return _look_inside(looked, stream, recipe)
    except UnreadableError as trouble:
        return looked._replace(refused=trouble.what)


def _look_at_columns(looked: Looked, column: str) -> Looked:
    if looked.format.compression:
        return looked._replace(refused="compressed once more than it is by itself: unpack it first")
    if not looked.file.size:
        return looked
    path = looked.file.path
    columns = parquet_columns(path) if looked.format.kind == "parquet" else arrow_columns(path)
    return _chosen(looked, columns, column)


def _chosen(looked: Looked, columns: Columns, wanted: str, *, alone: bool = False) -> Looked:
    column = columns.choose(wanted, looked.file.name, alone=alone)
    seen = columns.seen(column)
    names = [name for name, other in columns.found.items() if other.texts or name == column]
    return looked._replace(
        columns=tuple(names), column=column, nested=seen.nested, listed=seen.listed, first=seen.first
    )


def _look_inside(looked: Looked, stream: FileStream, recipe: Source) -> Looked:
    kind, file = looked.format.kind, looked.file
    head = stream.read(SAMPLE)
    if stream.damage and not head:
        return looked._replace(refused=stream.damage)
    given = codec_named(recipe.encoding)
    encoding = _encoding(kind, head, b"" if given else _more(looked, stream, head), given)
    if not encoding:
        return looked._replace(refused="binary")
    looked = looked._replace(encoding=encoding)
    if kind == "html" and not looked.format.compression and file.size > HTML_BYTES:
        return looked._replace(refused=TOO_LARGE)
    if not head or not looked.of_records:
        return looked
    return _look_at_json(looked, recipe.column) if kind in ("json", "jsonl") else _look_at_table(looked, recipe)


def _look_at_json(looked: Looked, wanted: str) -> Looked:
    lines = looked.format.kind == "jsonl"
    with _opened(looked) as stream:
        head = stream.read(json_layout.BEGINNING)
        layout = layout_of(head, whole=stream.at_end(), lines=lines)
        if layout is not None and (layout.columns or layout == VALUES) and not stream.at_end():
            head += stream.read(RECORD_BYTES)  # a second column may begin far behind
            layout = layout_of(head, whole=stream.at_end(), lines=lines)
        whole = stream.at_end()
    if layout is None:
        return looked._replace(refused="it is no JSON")
    if layout.columns and not whole:
        why = f"its columns stand behind each other in more than {RECORD_BYTES // 2**20} MiB: write it as JSON lines"
        return looked._replace(refused=why)
    if layout.columns:
        return _of_columns(looked, layout, beginning_of(head.removeprefix(BOM)), wanted)
    looked = looked._replace(layout=layout)
    with _opened(looked) as stream:
        columns = columns_in(_records(looked, stream), looked.file.size if _is_plain(looked) else None)
    for path in layout.inside or ():  # it may be said from the outermost object on
        if path and wanted not in columns.found and wanted.startswith(prefix := f"{'.'.join(path)}."):
            wanted = wanted.removeprefix(prefix)
            looked = looked._replace(layout=Layout(frozenset([path])))
    try:
        return _chosen(
            looked, columns, wanted, alone=layout.inside is None and columns.records == 1 and not layout.lines
        )
    except TextColumnError:
        with _opened(looked) as stream:
            if not wanted or wanted in columns.others or not is_anywhere(_records(looked, stream), wanted):
                raise
        return looked._replace(columns=(*columns.found, wanted), column=wanted, nested=True)


def _of_columns(looked: Looked, layout: Layout, value: Any, wanted: str) -> Looked:
    """A file that is one object with a list of texts, or several, of which one is taken."""
    columns = Columns()
    for path in layout.inside or ():
        held = value.get(path[0])
        for text in held.values() if isinstance(held, dict) else held or ():
            columns.look({path[0]: text})
    looked = _chosen(looked, columns, wanted)
    return looked._replace(layout=Layout(frozenset([(str(looked.column),)]), columns=True))


def _look_at_table(looked: Looked, recipe: Source) -> Looked:
    columns, numbers = Columns(), Columns()
    table: Table | None = None
    with _opened(looked) as stream:
        for found in lines_of(stream, looked.file.size if _is_plain(looked) else None):
            text, _ = text_lines(b"\n".join(found).removeprefix(BOM))
            if table is None:
                tsv = looked.format.kind == "tsv"
                table = table_of(text, tsv=tsv, wanted=recipe.column, header=recipe.header)
                text = text[table.skip :]
            for row in parse(text, table.dialect, len(table.names), final=True).rows:
                if len(row.cells) == len(table.names):
                    for name, cell in zip(table.names, row.cells, strict=True):
                        (numbers if is_number(cell) else columns).look({name: cell})
    assert table is not None
    for name in table.names:
        counted = numbers.found.get(name, Seen())
        if columns.found.setdefault(name, Seen()).texts <= counted.texts // 10 and counted.texts:
            columns.others[name] = None
    # in a table as text a number is a text, too, where the recipe or its name says so
    rest = {name: seen for name, seen in columns.found.items() if name not in columns.others}
    column = choose(recipe.column, columns.found if recipe.column else rest or numbers.found, (), looked.file.name)
    seen = columns.found[column] if columns.found[column].texts else numbers.found.get(column, Seen())
    return looked._replace(columns=table.names, column=column, first=seen.first, table=table)


def _is_plain(looked: Looked) -> bool:
    """Whether any place in the file can be gone to at once."""
    return not looked.format.compression and looked.encoding == "utf-8" and looked.layout.lines


@contextlib.contextmanager
def _opened(looked: Looked) -> Iterator[ByteStream]:
    """The file's text as UTF-8. Raises UnreadableError, EncodingError."""
    with FileStream(looked.file.path, looked.file.size, looked.format.compression) as stream:
        yield _utf8(stream, looked.encoding, looked.file.name)


def _records(looked: Looked, stream: ByteStream) -> ByteStream:
    """The records of a JSON file, one a line."""
    return stream if looked.layout.lines else Values(stream, looked.layout.inside)


def _more(looked: Looked, stream: FileStream, head: bytes) -> bytes:
    """More of a file, of which `head` has been read: where it is no longer ASCII, or from its middle."""
    if head.isascii() and (found := first_non_ascii(stream, _ASCII_BYTES)):
        return b"\n" + found
    here, middle = len(head) + (_ASCII_BYTES if head.isascii() else 0), looked.file.size // 2
    if looked.format.compression or middle < max(here, 2 * SAMPLE):
        return b""
    stream.skip(middle - here)
    return stream.read(SAMPLE)


def _encoding(kind: Kind, head: bytes, more: bytes, given: str) -> str:
    if kind == "html":
        return declared_encoding(head, given)
    # a NUL in a record breaks that record, not the file
    return detect_encoding(head, more, nuls=0.0 if kind == "text" else 0.1, said=given)


def _utf8(stream: FileStream, encoding: str, name: str) -> FileStream | TranscodedStream:
    return stream if encoding == "utf-8" else TranscodedStream(stream, encoding, name)


def read(looked: Looked, at: Place) -> Iterator[Step]:
    """The documents in a file from `at` on.

    Raises UnreadableError where it cannot be read to its end, EncodingError.
    """
    file, kind = looked.file, looked.format.kind
    if kind in ("parquet", "arrow"):
        if looked.column is not None:
            read_columns = read_parquet if kind == "parquet" else read_arrow
            yield from read_columns(file.name, file.path, file.size, looked.column, at)
        return
    with FileStream(file.path, file.size, looked.format.compression) as stream:
        if kind == "text":
            yield from _read_text(looked, stream, at)
        elif kind == "html":
            yield from _read_page(looked, stream, at)
        else:
            utf8 = _utf8(stream, looked.encoding, file.name)
            records: ByteStream = utf8
            if looked.table is not None and looked.column is not None:
                given = read_table(file.name, records, looked.table, looked.column, at)
            elif looked.table is None:
                records = _records(looked, records)
                column = None if looked.layout.columns else looked.column
                given = read_json_lines(file.name, records, column, at, nested=looked.nested)
            else:
                return
            for step in given:
                at = step.place
                yield step
            if isinstance(utf8, TranscodedStream) and utf8.replaced:
                yield Step(NOTHING, at, stream.consumed, utf8.replaced)
            if records.damage and not stream.damage:
                raise UnreadableError(records.damage, where=str(file.path))
        if stream.damage:
            raise UnreadableError(stream.damage, where=str(file.path))


def _read_text(looked: Looked, stream: FileStream, at: Place) -> Iterator[Step]:
    part = at.part
    for piece in read_pieces(stream, looked.encoding, at.offset, at.state, where=looked.file.name):
        batch = batch_of_part(looked.file.name, part, piece.text)
        part += 1
        yield Step(batch, Place(offset=piece.end, part=part, state=piece.state), stream.consumed, piece.replaced)


def _read_page(looked: Looked, stream: FileStream, at: Place) -> Iterator[Step]:
    # a large page takes seconds, in which a stop has to be heeded
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(read_html, stream, looked.encoding, str(looked.file.path))
        while not wait([work], max(PROGRESS_INTERVAL, 0.05)).done:
            yield Step(NOTHING, at, 0)
        text, replaced = work.result()
    if text.strip():
        batches = list(cut(looked.file.name, text.encode()))
        said = Step(NOTHING, at, 0, replaced)
        yield from steps(batches, at, Place(part=len(batches)), stream.consumed, said)
