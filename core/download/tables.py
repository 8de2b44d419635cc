"""Documents out of tables that are kept as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import chain

import numpy as np

from core.download import lines, records
from core.download.compression import Bytes
from core.download.lines import Block, blocks
from core.download.records import BOM, TOO_LONG, Broken
from core.download.rows import KEPT, NOTHING, Bad, Place, Step

_LINES = 2**16
"""Lines after which it is said how far it is."""


class Table:
    """The rows of a table as text, and where each ends."""

    def __init__(self, stream: Bytes, delimiter: str, at: Place) -> None:
        # one setting for the whole process; nothing else here uses this reader
        csv.field_size_limit(lines.RECORD_BYTES)
        self._at, self._row_start = at, at.offset
        self._block = Block(b"", at.offset, at.offset, at.line)
        self._before = self._here = self._extra = 0
        self._suspect = self._too_long = False
        self._reader = csv.reader(chain.from_iterable(self._lines(stream)), delimiter=delimiter)

    @property
    def line(self) -> int:
        """Lines behind the last row, from the beginning of the file."""
        return self._at.line + self._reader.line_num - self._extra

    def place(self) -> Place:
        """The place behind the last row."""
        used = self._reader.line_num - self._extra - self._before
        if used >= self._here:
            return Place(offset=self._block.end, line=self.line)
        size = sum(map(len, self._block.data.splitlines(keepends=True)[:used]))
        return Place(offset=self._block.start + size, line=self.line)

    def row(self) -> list[str]:
        """The next row, empty for an empty line. Raises Broken, StopIteration."""
        used = self._reader.line_num - self._extra - self._before
        self._row_start = self._block.end if used >= self._here else self._block.start
        self._too_long = False
        try:
            row = next(self._reader)
        except csv.Error as error:
            raise Broken(TOO_LONG if "limit" in str(error) or self._too_long else str(error)) from None
        if self._too_long:
            raise Broken(TOO_LONG)
        if self._suspect and any("\0" in cell for cell in row):
            raise Broken("it has a NUL byte in it")
        return row

    @property
    def doubtful(self) -> bool:
        """Whether anything met so far was not UTF-8, or a NUL."""
        return self._suspect

    def _lines(self, stream: Bytes) -> Iterator[list[str]]:
        """The lines of each block, and something in between where the reader of rows has to let go."""
        for block in blocks(stream, self._at.offset, self._at.line):
            if not block.data and not block.too_long:
                self._extra += 1
                yield ["\n"]
                continue
            self._before += self._here
            self._block = block
            if block.too_long:
                self._too_long, self._here = True, 1
                yield ['-"\n']  # it ends a row, and a cell with a quote that was begun
                continue
            data = block.data.removeprefix(BOM) if block.start == 0 else block.data
            try:
                text = data.decode()
                self._suspect = self._suspect or "\0" in text
            except UnicodeDecodeError:
                text, self._suspect = data.decode("utf-8", "replace"), True
            found = list(io.StringIO(text, newline=""))
            self._here = len(found)
            if block.start - self._row_start > lines.RECORD_BYTES:
                self._too_long = True
                found[0] = '"\n"'  # an error to the reader of rows, wherever it is
            yield found


def header(stream: Bytes, kind: str) -> tuple[list[str], str]:
    """The names in the first row of a table, and what separates its cells. Raises Unreadable."""
    for block in blocks(stream):
        if block.data:
            break
    else:
        return [], ","
    first = block.data.removeprefix(BOM).splitlines(keepends=True)[:1]
    line = b"".join(first).decode("utf-8", "replace")
    counts = {mark: line.count(mark) for mark in (("\t",) if kind == "tsv" else (",", ";", "\t", "|"))}
    delimiter = max(counts, key=lambda mark: counts[mark])
    return next(csv.reader([line], delimiter=delimiter), []), delimiter


def read_table(name: str, stream: Bytes, columns: list[str], column: str, delimiter: str, at: Place) -> Iterator[Step]:
    """The texts in `column` of a table. Documents are named `name:line` by where they begin. Raises Unreadable."""
    index = columns.index(column)
    table = Table(stream, delimiter, at)
    start, given = Place(offset=at.offset, line=at.line), at.part
    texts: list[str | None] = []
    numbers: list[int] = []
    bad: list[Bad] = []
    size = replaced = 0
    ended = False
    while not ended:
        number = table.line + 1
        try:
            row = table.row()
            if row and number > 1:
                if len(row) != len(columns):
                    raise Broken(f"it has {len(row):,} cells instead of {len(columns):,}")
                texts.append(row[index])
                numbers.append(number)
                size += len(row[index])
                replaced += row[index].count("\ufffd") if table.doubtful else 0
        except Broken as error:
            bad.append(Bad(number, str(error)))
        except StopIteration:
            ended = True
        if size >= lines.BLOCK_BYTES or table.line - start.line >= _LINES or ended:
            behind = table.place()
            said = Step(NOTHING, behind, 0, replaced=replaced, broken=len(bad), bad=tuple(bad[:KEPT]))
            start.part = given
            yield from records.given(name, texts, np.asarray(numbers, dtype=np.int64), said, start, stream.consumed)
            start, given = behind, 0
            texts, numbers, bad, size, replaced = [], [], [], 0, 0
