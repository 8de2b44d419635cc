"""Infers the delimiter, quoting and header of a table from its first lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from core.download.csv_tables import Dialect, TableFormat, TableRow, parse_rows, strip_empty_cells
from core.download.text_column import COMMON_NAMES, unique_column_names

_LINES = 200
"""Lines from which the dialect is inferred."""
_DELIMITERS = (",", ";", "\t", "|")
_NO_DELIMITER = "\x1f"
"""Of a table with one column."""
_WORDS, _LETTERS = 6, 80
"""Words or characters from which a cell of the first row is not a column name."""

_QUOTED = re.compile(r'"[^"]*"')
_NUMBER = re.compile(r"\s*[-+]?(\d[\d.,_ ]*|\.\d+)([eE][-+]?\d+)?%?\s*")
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


def infer_table(sample: Sequence[str], *, tsv: bool, requested: str, header: bool | None) -> TableFormat:
    """How the table that begins with the lines `sample` is to be read.

    requested: the recipe's column, or "". header: whether the first row is a header; None: infer it.
    """
    lines = list(sample[:_LINES])
    before = 0
    separator = ""
    while lines and (not lines[0].strip(' ,;|\t\r\n"') or _SEPARATOR.fullmatch(lines[0].strip())):
        if match := _SEPARATOR.fullmatch(lines[0].strip()):
            separator = match[1]
        before += 1
        lines.pop(0)
    delimiter = separator or ("\t" if tsv else _delimiter(lines))
    dialect = _tsv(lines) if tsv and not separator else _csv(lines, delimiter)
    # not final: the last row may be cut, and its lines are no rows
    rows = parse_rows(lines, dialect, 0, final=False).rows or parse_rows(lines, dialect, 0, final=True).rows[:1]
    if not rows:
        return TableFormat((), dialect, before)
    first, rest = rows[0].cells, rows[1:]
    named = header if header is not None else _is_named(first, rest, requested)
    if not named:
        names = [""] * len(first)
    else:
        before += rows[0].lines
        names = first
        if {len(strip_empty_cells(row.cells, len(names))) for row in rest} == {len(names) + 1}:
            names = ["", *names]  # R names its rows and not the column that these names are in
    return TableFormat(tuple(unique_column_names(names)), dialect, before, named)


def is_number(cell: str) -> bool:
    """Whether a cell holds a number."""
    return _NUMBER.fullmatch(cell) is not None


def _delimiter(lines: Sequence[str]) -> str:
    """The delimiter that occurs equally often in most lines, outside quoted cells."""
    bare = [_QUOTED.sub("", line) for line in lines if line.strip() and line.count('"') % 2 == 0] or list(lines[:1])

    def fitness(delimiter: str) -> tuple[float, int]:
        counts = Counter(line.count(delimiter) for line in bare)
        first = bare[0].count(delimiter) if bare else 0
        return (counts[first] / max(1, len(bare)), first) if first else (0.0, 0)

    best = max(_DELIMITERS, key=fitness)
    return best if fitness(best)[1] else _NO_DELIMITER


def _csv(lines: Sequence[str], delimiter: str) -> Dialect:
    """The CSV dialect; with the backslash escape of Spark and MySQL if only that fits."""
    plain, escaped = Dialect(delimiter), Dialect(delimiter, escape="\\")
    if any('\\"' in line for line in lines) and _unbalanced(lines, escaped) < _unbalanced(lines, plain):
        return escaped
    return plain


def _unbalanced(lines: Sequence[str], dialect: Dialect) -> int:
    return sum(row.unbalanced for row in parse_rows(list(lines), dialect, 0, final=False).rows)


def _tsv(lines: Sequence[str]) -> Dialect:
    """The TSV dialect: without quoting, unless a CSV writer has quoted its cells."""
    plain, quoted = Dialect("\t", quoted=False), Dialect("\t")
    if not any('"' in line for line in lines):
        return plain
    rows = parse_rows(list(lines), quoted, 0, final=False).rows
    if any(row.unbalanced or len(row.cells) != len(rows[0].cells) for row in rows):
        return plain
    cells = [cell for line in lines for cell in line.rstrip("\r\n").split("\t")]
    telling = any(row.lines > 1 for row in rows) or any('""' in cell[1:-1] for cell in cells if cell[:1] == '"')
    return quoted if telling or all(cell[:1] == '"' == cell[-1:] for cell in cells) else plain


def _is_named(first: Sequence[str], rest: Sequence[TableRow], requested: str) -> bool:
    """Whether the first row of a table names its columns."""
    if requested and requested in unique_column_names(first):
        return True
    if any(cell.strip().casefold() in COMMON_NAMES for cell in first):
        return True
    if [cell for cell in first if cell] == [str(number) for number in range(len(first) - (not first[0]))]:
        return True  # pandas' numbers of columns without names
    if any(is_number(cell) or len(cell) > _LETTERS or len(cell.split()) >= _WORDS for cell in first):
        return False
    for row in rest:
        if row.cells != list(first) and any(
            a == b != "" for a, b in zip(first, row.cells, strict=False) if len(row.cells) == len(first)
        ):
            return False
    return True
