"""Documents out of tables that are kept as text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, field

from core.download import lines, records
from core.download.batches import KEPT, NOTHING, Bad, Place, Step
from core.download.compression import ByteStream
from core.download.lines import Block, blocks
from core.download.records import BOM, TOO_LONG
from core.plural import plural

_LOOKED_AT = 2**15
"""Characters of a line beyond which nobody looks for the right quotation mark: it takes the square of them."""


class Dialect(NamedTuple):
    """How the cells of a table are written."""

    delimiter: str = ","
    quoted: bool = True
    """Whether cells may stand in quotation marks. In a TSV they are letters like any other."""
    escape: str | None = None
    """What may stand before a quotation mark inside a quoted cell, besides another one."""


class Row(NamedTuple):
    """One row of a table."""

    line: int
    """The line it begins on, from 0."""
    cells: list[str]
    lines: int = 1
    unbalanced: bool = False
    """Its quotation marks do not pair: it was taken as it stands."""


class Rows(Struct):
    """What came out of some lines."""

    rows: list[Row] = field(default_factory=list)
    used: int = 0
    """Lines behind the last whole row."""


def parse(found: list[str], dialect: Dialect, width: int, *, final: bool) -> Rows:
    """The rows in some lines, without blank ones.

    A quotation mark that is never closed, or closed where no cell ends, must not swallow the rows behind it: such a
    line is a row by itself. width: cells of a row; 0: nobody knows. final: no line follows.
    """
    if not dialect.quoted:
        rows = [Row(number, line.rstrip("\r\n").split(dialect.delimiter)) for number, line in enumerate(found)]
        return Rows([row for row in rows if row.cells != [""]], len(found))
    result = Rows()
    start, end = 0, len(found)
    while start < end:
        reader = _reader(map(found.__getitem__, range(start, end)), dialect, strict=True)
        base = start
        try:
            for cells in reader:
                behind = base + reader.line_num
                taken = found[start:behind] if behind - start > 1 else []
                if taken and (_misfit(cells, width) or _each_a_row(taken, dialect, width)):
                    raise csv.Error
                if cells:
                    result.rows.append(Row(start, cells, behind - start))
                start = behind
        except csv.Error as error:
            if not final and "unexpected end" in str(error):
                break
            result.rows.append(_alone(start, found[start], dialect, width))
            start += 1
    result.used = start
    return result


def _reader(found: Iterator[str], dialect: Dialect, *, strict: bool) -> Any:
    # one setting for the whole process; nothing else here uses this reader
    csv.field_size_limit(lines.RECORD_BYTES)
    return csv.reader(found, delimiter=dialect.delimiter, escapechar=dialect.escape, strict=strict)


def _misfit(cells: list[str], width: int) -> bool:
    return bool(width and len(trimmed(cells, width)) != width)


def _each_a_row(taken: list[str], dialect: Dialect, width: int) -> bool:
    """Whether what was read as one row of several lines are rows by themselves."""
    return width > 2 and all(line.rstrip("\r\n").count(dialect.delimiter) == width - 1 for line in taken)


def _alone(number: int, line: str, dialect: Dialect, width: int) -> Row:
    """A line whose quotation marks do not pair, as a row."""
    line = line.rstrip("\r\n")
    cells = _cells(line, dialect.delimiter)
    if _misfit(cells, width):
        try:
            lenient: list[str] = next(_reader(iter([line]), dialect, strict=False), [])
        except csv.Error:
            lenient = []
        cells = cells if _misfit(lenient, width) else lenient
    return Row(number, cells, unbalanced=True)


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line in which a quotation mark closes a cell only where the cell ends."""
    if len(line) > _LOOKED_AT:
        return line.split(delimiter)
    mark = re.escape(delimiter)
    found = re.finditer(rf'(?:^|{mark})(?:"(.*?)"(?={mark}|$)|([^{mark}]*))', line, re.DOTALL)
    return [cell[2] if cell[1] is None else cell[1].replace('""', '"') for cell in found]


def trimmed(cells: list[str], width: int) -> list[str]:
    """A row without empty cells behind its last column."""
    while len(cells) > width and not cells[-1]:
        cells = cells[:-1]
    return cells


class Table(NamedTuple):
    """What has to be known of a table before its rows are read."""

    names: tuple[str, ...]
    dialect: Dialect
    skip: int = 0
    """Lines in front of the first row: the names, and what stands before them."""
    named: bool = True
    """Whether a row of names was found."""


def read_table(name: str, stream: ByteStream, table: Table, column: str, at: Place) -> Iterator[Step]:
    """The texts in `column` of a table. Documents are named `name:line` by where they begin. Raises UnreadableError."""
    index = table.names.index(column)
    part, kept = at.part, None
    found = blocks(stream, at.offset, at.line)
    while (block := _next(found, kept)) is not None:
        start = Place(offset=block.start, line=block.lines, part=part if block.start == at.offset else 0)
        kept = None
        if block.too_long:
            said = Step(NOTHING, Place(offset=block.end, line=block.lines + 1), 0, broken=1)
            said = said._replace(bad=(Bad(block.lines + 1, TOO_LONG),))
            yield from records.given(name, [], np.asarray([]), said, start, stream.consumed)
        elif not block.data:
            yield Step(NOTHING, start, stream.consumed)
        else:
            data = block.data.removeprefix(BOM) if block.start == 0 else block.data
            text, doubtful = text_lines(data)
            final = stream.at_end() or len(data) > lines.RECORD_BYTES
            parsed = parse(text, table.dialect, len(table.names), final=final)
            kept = sum(map(len, data.splitlines(keepends=True)[parsed.used :])) if parsed.used < len(text) else 0
            behind = Place(offset=block.end - kept, line=block.lines + data.count(b"\n", 0, len(data) - kept))
            texts, numbers, said = _texts(parsed, table, index, block.lines, behind)
            said = said if doubtful else said._replace(replaced=0)
            yield from records.given(name, texts, np.asarray(numbers, dtype=np.int64), said, start, stream.consumed)


def _next(found: Generator[Block, int | None, None], kept: int | None) -> Block | None:
    try:
        return found.send(kept)
    except StopIteration:
        return None


def text_lines(data: bytes) -> tuple[list[str], bool]:
    """The lines of some UTF-8, with their ends, and whether there are bytes in it that are none."""
    try:
        text, doubtful = data.decode(), False
    except UnicodeDecodeError:
        text, doubtful = data.decode("utf-8", "replace"), True
    return list(io.StringIO(text, newline="")), doubtful


def _texts(
    parsed: Rows, table: Table, index: int, first: int, behind: Place
) -> tuple[list[str | None], list[int], Step]:
    """The texts of some rows, the lines they begin on, counted from 1, and how it went. first: lines before them."""
    width = len(table.names)
    texts: list[str | None] = []
    numbers: list[int] = []
    bad: list[Bad] = []
    replaced = unbalanced = inside = 0
    for row in parsed.rows:
        number = first + row.line + 1
        if number <= table.skip:
            continue
        inside += row.lines - 1
        cells = trimmed(row.cells, width) if len(row.cells) > width else row.cells
        if len(cells) != width:
            bad.append(Bad(number, f"it has {plural(len(cells), 'cell')} instead of {width:,}"))
        elif any("\0" in cell for cell in cells):
            bad.append(Bad(number, "it has a NUL byte in it"))
        else:
            text = cells[index]
            texts.append(text)
            numbers.append(number)
            unbalanced += row.unbalanced
            replaced += text.count("\ufffd")
    said = Step(
        NOTHING,
        behind,
        0,
        replaced=replaced,
        broken=len(bad),
        bad=tuple(bad[:KEPT]),
        unbalanced=unbalanced,
        inside=inside,
    )
    return texts, numbers, said
