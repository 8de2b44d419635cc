"""Documents from CSV and TSV tables."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, field

from core.download import json_lines, line_blocks
from core.download.batches import EMPTY_BATCH, MAX_REPORTED, DocumentBatch, FilePosition, InvalidRecord
from core.download.compression import ByteStream
from core.download.json_lines import BOM, TOO_LONG
from core.download.line_blocks import LineBlock, read_blocks
from core.plural import plural

_MAX_UNBALANCED_LINE = 2**15
"""Longest line, in characters, whose quotation marks are matched: the search is quadratic."""


class Dialect(NamedTuple):
    """Delimiter and quoting of a table."""

    delimiter: str = ","
    quoted: bool = True
    """Whether cells may be quoted. In a TSV quotation marks are ordinary characters."""
    escape: str | None = None
    """Escape character of quotation marks inside quoted cells, besides doubling them."""


class TableRow(NamedTuple):
    """One row of a table."""

    line: int
    """Line on which the row starts, from 0."""
    cells: list[str]
    lines: int = 1
    unbalanced: bool = False
    """Its quotation marks are unbalanced; it was taken literally."""


class ParsedRows(Struct):
    """The rows parsed from some lines."""

    rows: list[TableRow] = field(default_factory=list)
    used: int = 0
    """Number of lines consumed by complete rows."""


def parse_rows(lines: list[str], dialect: Dialect, width: int, *, final: bool) -> ParsedRows:
    """Parse some lines into rows, without blank ones.

    A quotation mark that is never closed, or closed where no cell ends, must not swallow the rows after it: such a
    line becomes a row by itself. width: cells per row; 0 if unknown. final: whether no line follows.
    """
    if not dialect.quoted:
        rows = [TableRow(number, line.rstrip("\r\n").split(dialect.delimiter)) for number, line in enumerate(lines)]
        return ParsedRows([row for row in rows if row.cells != [""]], len(lines))
    result = ParsedRows()
    start, end = 0, len(lines)
    while start < end:
        reader = _reader(map(lines.__getitem__, range(start, end)), dialect, strict=True)
        base = start
        try:
            for cells in reader:
                after = base + reader.line_num
                taken = lines[start:after] if after - start > 1 else []
                if taken and (_has_wrong_width(cells, width) or _are_separate_rows(taken, dialect, width)):
                    raise csv.Error
                if cells:
                    result.rows.append(TableRow(start, cells, after - start))
                start = after
        except csv.Error as error:
            if not final and "unexpected end" in str(error):
                break
            result.rows.append(_parse_unbalanced(start, lines[start], dialect, width))
            start += 1
    result.used = start
    return result


def _reader(lines: Iterator[str], dialect: Dialect, *, strict: bool) -> Any:
    # one setting for the whole process; nothing else here uses this reader
    csv.field_size_limit(line_blocks.RECORD_BYTES)
    return csv.reader(lines, delimiter=dialect.delimiter, escapechar=dialect.escape, strict=strict)


def _has_wrong_width(cells: list[str], width: int) -> bool:
    return bool(width and len(strip_empty_cells(cells, width)) != width)


def _are_separate_rows(taken: list[str], dialect: Dialect, width: int) -> bool:
    """Whether the lines of a multi-line row are rows by themselves."""
    return width > 2 and all(line.rstrip("\r\n").count(dialect.delimiter) == width - 1 for line in taken)


def _parse_unbalanced(number: int, line: str, dialect: Dialect, width: int) -> TableRow:
    """Parse a line with unbalanced quotation marks as one row."""
    line = line.rstrip("\r\n")
    cells = _cells(line, dialect.delimiter)
    if _has_wrong_width(cells, width):
        try:
            lenient: list[str] = next(_reader(iter([line]), dialect, strict=False), [])
        except csv.Error:
            lenient = []
        cells = cells if _has_wrong_width(lenient, width) else lenient
    return TableRow(number, cells, unbalanced=True)


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line in which a quotation mark closes a cell only where the cell ends."""
    if len(line) > _MAX_UNBALANCED_LINE:
        return line.split(delimiter)
    escaped = re.escape(delimiter)
    found = re.finditer(rf'(?:^|{escaped})(?:"(.*?)"(?={escaped}|$)|([^{escaped}]*))', line, re.DOTALL)
    return [cell[2] if cell[1] is None else cell[1].replace('""', '"') for cell in found]


def strip_empty_cells(cells: list[str], width: int) -> list[str]:
    """Remove empty cells after the last column."""
    while len(cells) > width and not cells[-1]:
        cells = cells[:-1]
    return cells


class TableFormat(NamedTuple):
    """Columns and dialect of a table."""

    names: tuple[str, ...]
    dialect: Dialect
    skip: int = 0
    """Lines before the first row: the header, and whatever precedes it."""
    named: bool = True
    """Whether the table has a header row."""


def read_table(
    name: str, stream: ByteStream, table: TableFormat, column: str, position: FilePosition
) -> Iterator[DocumentBatch]:
    """The texts in `column` of a table. Documents are named `name:line` by where they begin. Raises UnreadableError."""
    index = table.names.index(column)
    part, remainder = position.part, None
    blocks = read_blocks(stream, position.offset, position.line)
    while (block := _next(blocks, remainder)) is not None:
        start = FilePosition(offset=block.start, line=block.lines, part=part if block.start == position.offset else 0)
        remainder = None
        if block.too_long:
            after = FilePosition(offset=block.end, line=block.lines + 1)
            invalid = (InvalidRecord(block.lines + 1, TOO_LONG),)
            counts = DocumentBatch(EMPTY_BATCH, after, 0, invalid_records=1, invalid=invalid)
            yield from json_lines.texts_to_batches(name, [], np.asarray([]), counts, start, stream.consumed)
        elif not block.data:
            yield DocumentBatch(EMPTY_BATCH, start, stream.consumed)
        else:
            data = block.data.removeprefix(BOM) if block.start == 0 else block.data
            text, doubtful = text_lines(data)
            final = stream.at_end() or len(data) > line_blocks.RECORD_BYTES
            parsed = parse_rows(text, table.dialect, len(table.names), final=final)
            remainder = sum(map(len, data.splitlines(keepends=True)[parsed.used :])) if parsed.used < len(text) else 0
            lines = block.lines + data.count(b"\n", 0, len(data) - remainder)
            after = FilePosition(offset=block.end - remainder, line=lines)
            texts, numbers, counts = _texts(parsed, table, index, block.lines, after)
            counts = counts if doubtful else counts._replace(replaced=0)
            yield from json_lines.texts_to_batches(
                name, texts, np.asarray(numbers, dtype=np.int64), counts, start, stream.consumed
            )


def _next(blocks: Generator[LineBlock, int | None, None], remainder: int | None) -> LineBlock | None:
    try:
        return blocks.send(remainder)
    except StopIteration:
        return None


def text_lines(data: bytes) -> tuple[list[str], bool]:
    """The lines of UTF-8 data with their line ends, and whether it contains invalid UTF-8."""
    try:
        text, doubtful = data.decode(), False
    except UnicodeDecodeError:
        text, doubtful = data.decode("utf-8", "replace"), True
    return list(io.StringIO(text, newline="")), doubtful


def _texts(
    parsed: ParsedRows, table: TableFormat, index: int, first: int, after: FilePosition
) -> tuple[list[str | None], list[int], DocumentBatch]:
    """The texts of some rows, the lines they begin on, counted from 1, and how it went. first: lines before them."""
    width = len(table.names)
    texts: list[str | None] = []
    numbers: list[int] = []
    invalid: list[InvalidRecord] = []
    replaced = unbalanced = quoted_newlines = 0
    for row in parsed.rows:
        number = first + row.line + 1
        if number <= table.skip:
            continue
        quoted_newlines += row.lines - 1
        cells = strip_empty_cells(row.cells, width) if len(row.cells) > width else row.cells
        if len(cells) != width:
            invalid.append(InvalidRecord(number, f"it has {plural(len(cells), 'cell')} instead of {width:,}"))
        elif any("\0" in cell for cell in cells):
            invalid.append(InvalidRecord(number, "it has a NUL byte in it"))
        else:
            text = cells[index]
            texts.append(text)
            numbers.append(number)
            unbalanced += row.unbalanced
            replaced += text.count("\ufffd")
    counts = DocumentBatch(
        EMPTY_BATCH,
        after,
        0,
        replaced=replaced,
        invalid_records=len(invalid),
        invalid=tuple(invalid[:MAX_REPORTED]),
        unbalanced=unbalanced,
        quoted_newlines=quoted_newlines,
    )
    return texts, numbers, counts
