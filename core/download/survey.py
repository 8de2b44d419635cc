"""A look at each file of a source before any is read: is it text, in which encoding, where in it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import NamedTuple

import msgspec

from core.download.compression import Bytes, Stream
from core.download.encoding import SAMPLE, Transcoded, encoding_of
from core.download.formats import Format, Kind, format_of
from core.download.html import HTML_BYTES, TOO_LARGE, declared_encoding, read_html
from core.download.lines import blocks
from core.download.listing import Found, Unreadable
from core.download.parquet import read_parquet, text_columns
from core.download.progress import EVERY
from core.download.reading import read_pieces
from core.download.records import read_json_lines
from core.download.rows import NOTHING, Place, Step, batch_of_part, cut, steps
from core.download.tables import header, read_table
from core.download.text_column import choose

_RECORDS = 100
"""JSON lines looked at to find out which field holds the text."""


class Looked(NamedTuple):
    """One file of a source, and how to read it."""

    file: Found
    format: Format
    refused: str = ""
    """Why it cannot be used; empty for a good one."""
    encoding: str = ""
    columns: tuple[str, ...] = ()
    """Those the text may be in."""
    column: str = ""
    """The one it is in; empty for formats without columns, and for JSON lines that are texts themselves."""
    delimiter: str = ","


def look(file: Found, column: str) -> Looked:
    """How to read `file`, or why it cannot be. column: the one with the text, where there are any; "": found.

    Raises NoColumn.
    """
    looked = Looked(file, format_of(file.name), file.refused)
    if looked.refused:
        return looked
    try:
        if looked.format.kind == "parquet":
            return _look_at_parquet(looked, column)
        with Stream(file.path, file.size, looked.format.compression) as stream:
            return _look_inside(looked, stream, column)
    except Unreadable as trouble:
        return looked._replace(refused=trouble.what)


def _look_at_parquet(looked: Looked, column: str) -> Looked:
    if looked.format.compression:
        return looked._replace(refused="a compressed Parquet file: unpack it first")
    texts, others = text_columns(looked.file.path)
    return looked._replace(columns=tuple(texts), column=choose(column, texts, others, looked.file.name))


def _look_inside(looked: Looked, stream: Stream, column: str) -> Looked:
    kind, file = looked.format.kind, looked.file
    head = stream.read(SAMPLE)
    if stream.damage and not head:
        return looked._replace(refused=stream.damage)
    middle = b""
    if not looked.format.compression and file.size > 4 * SAMPLE:
        stream.skip(file.size // 2 - SAMPLE)
        middle = stream.read(SAMPLE)
    encoding = _encoding(kind, head, middle)
    if not encoding:
        return looked._replace(refused="binary")
    looked = looked._replace(encoding=encoding)
    if kind == "html" and not looked.format.compression and file.size > HTML_BYTES:
        return looked._replace(refused=TOO_LARGE)
    if not head or kind in ("text", "html"):
        return looked
    with Stream(file.path, file.size, looked.format.compression) as again:
        records = _utf8(again, encoding)
        if kind == "jsonl":
            texts, others = _fields(records)
            if not texts and not others:  # texts by themselves, as far as one can see
                return looked._replace(column=column)
            return looked._replace(columns=tuple(texts), column=choose(column, texts, others, file.name))
        names, delimiter = header(records, kind)
    return looked._replace(columns=tuple(names), column=choose(column, names, (), file.name), delimiter=delimiter)


def _encoding(kind: Kind, head: bytes, middle: bytes) -> str:
    if kind == "html":
        return declared_encoding(head)
    # a NUL in a record breaks that record, not the file
    return encoding_of(head, middle, nuls=0.0 if kind == "text" else 0.1)


def _utf8(stream: Stream, encoding: str) -> Bytes:
    return stream if encoding == "utf-8" else Transcoded(stream, encoding)


def _fields(stream: Bytes) -> tuple[list[str], list[str]]:
    """The fields of the first JSON objects that hold text, and the others."""
    texts: dict[str, None] = {}
    others: dict[str, None] = {}
    seen = 0
    for block in blocks(stream):
        for line in block.data.removeprefix(b"\xef\xbb\xbf").split(b"\n", 2 * _RECORDS)[: 2 * _RECORDS]:
            try:
                record = msgspec.json.decode(line) if line.strip() else None
            except (ValueError, RecursionError):
                continue
            seen += isinstance(record, dict | str)
            for name, value in record.items() if isinstance(record, dict) else ():
                (texts if isinstance(value, str) else others)[name] = None
            if seen >= _RECORDS:
                break
        if seen or block.end > 2**28:
            break
    return list(texts), [name for name in others if name not in texts]


def read(looked: Looked, at: Place) -> Iterator[Step]:
    """The documents in a file from `at` on. Raises Unreadable where it cannot be read to its end."""
    file, kind = looked.file, looked.format.kind
    if kind == "parquet":
        yield from read_parquet(file.name, file.path, file.size, looked.column, at)
        return
    with Stream(file.path, file.size, looked.format.compression) as stream:
        if kind == "text":
            yield from _read_text(looked, stream, at)
        elif kind == "html":
            yield from _read_page(looked, stream, at)
        else:
            utf8 = _utf8(stream, looked.encoding)
            if kind == "jsonl":
                yield from read_json_lines(file.name, utf8, looked.column, at)
            elif looked.columns:
                yield from read_table(file.name, utf8, list(looked.columns), looked.column, looked.delimiter, at)
        if stream.damage:
            raise Unreadable(stream.damage, where=str(file.path))


def _read_text(looked: Looked, stream: Stream, at: Place) -> Iterator[Step]:
    part = at.part
    for piece in read_pieces(stream, looked.encoding, at.offset, at.state):
        batch = batch_of_part(looked.file.name, part, piece.text)
        part += 1
        yield Step(batch, Place(offset=piece.end, part=part, state=piece.state), stream.consumed, piece.replaced)


def _read_page(looked: Looked, stream: Stream, at: Place) -> Iterator[Step]:
    # a large page takes seconds, in which a stop has to be heeded
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(read_html, stream, looked.encoding, str(looked.file.path))
        while not wait([work], max(EVERY, 0.05)).done:
            yield Step(NOTHING, at, 0)
        text, replaced = work.result()
    if text.strip():
        batches = list(cut(looked.file.name, text.encode()))
        said = Step(NOTHING, at, 0, replaced)
        yield from steps(batches, at, Place(part=len(batches)), stream.consumed, said)
