"""Selects the text column of records, and extracts the text from nested records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from core.errors import UsageError

COMMON_NAMES = ("text", "content")
"""The usual names of the text column, in order of preference."""

_TURN = ("content", "value", "text")
"""Fields with the text of one turn of a conversation, as in the formats of OpenAI, ShareGPT and others."""

_CLEARLY = 2
"""A column with this many times the text of any other is selected by length alone."""
_LONG = 30
"""Minimum mean length in characters of such a column."""
_LONG_ALONE = 100
"""The same for a file that is one JSON object: settings have many short texts."""
_DEPTH = 8
_MOST = 500
"""Maximum number of columns: a file may have an object with a field per record."""
_ITEMS = 64
"""Items of a list that are inspected."""


class TextColumnError(UsageError):
    """The text column cannot be determined."""

    doing = "find the text"


class InvalidRecordError(Exception):
    """A record is invalid; the message says why."""


class ColumnStats(Struct):
    """Statistics of one column in the sampled records."""

    texts: int = 0
    """Texts that are not empty."""
    characters: int = 0
    first: str = ""
    """The beginning of the first of them."""
    nested: bool = False
    """Whether it lies inside a list or an object."""
    listed: bool = False
    """Whether a record may have several texts in it."""


class Columns:
    """Statistics of the columns of sampled records. A path with dots leads into objects and lists."""

    def __init__(self) -> None:
        self.text_columns: dict[str, ColumnStats] = {}
        """Columns that hold text or only nulls."""
        self.other_columns: dict[str, None] = {}
        """Columns that hold something else."""
        self.record_texts = ColumnStats()
        """Statistics of records that are strings."""
        self.records = 0

    def add_record(self, record: Any) -> None:
        """Add one record to the statistics."""
        self.records += 1
        if isinstance(record, dict):
            for name, value in record.items():
                self._add_value(name, value, ColumnStats(), _DEPTH)
        elif isinstance(record, str):
            _count(self.record_texts, record)
        elif isinstance(record, list):
            texts = all(item is None or isinstance(item, str) for item in record)
            for number, item in enumerate(record[:_ITEMS]):
                if not texts:
                    self._add_value(str(number), item, ColumnStats(nested=True), _DEPTH)
                elif item:
                    self.record_texts.nested = self.record_texts.listed = True
                    _count(self.record_texts, item)

    def _add_value(self, path: str, value: Any, parent: ColumnStats, depth: int) -> None:
        """parent: whether `path` is nested in objects or lists."""
        if value is None or isinstance(value, str):
            stats = self.text_columns.get(path)
            if stats is None:
                if len(self.text_columns) >= _MOST:
                    return
                stats = self.text_columns[path] = ColumnStats(nested=parent.nested, listed=parent.listed)
            if value:
                _count(stats, value)
                stats.nested, stats.listed = stats.nested or parent.nested, stats.listed or parent.listed
        elif isinstance(value, dict) and depth and value:
            for name, inner in value.items():
                self._add_value(f"{path}.{name}", inner, ColumnStats(nested=True, listed=parent.listed), depth - 1)
        elif isinstance(value, list) and depth and value:
            for item in value[:_ITEMS]:
                self._add_value(path, item, ColumnStats(nested=True, listed=True), depth - 1)
        elif len(self.other_columns) < _MOST:
            self.other_columns[path] = None

    def stats(self, column: str | None) -> ColumnStats:
        """Statistics of the selected column, or of the columns inside it."""
        if column is None:
            return self.record_texts
        if column in self.text_columns:
            return self.text_columns[column]
        path = ".".join(part for part in column.split(".") if not part.isdecimal())
        nested = [stats for name, stats in self.text_columns.items() if f"{name}.".startswith(f"{path}.")]
        most = max(nested, key=lambda stats: stats.characters, default=ColumnStats())
        return ColumnStats(first=most.first, nested=True, listed=path == column)

    def choose_column(self, requested: str, where: str = "", *, alone: bool = False) -> str | None:
        """Select the text column; None if each record is a string.

        requested: the recipe's column, or "". alone: whether these are the fields of a file that is one object.
        Raises TextColumnError.
        """
        if not self.text_columns and (self.record_texts.texts or not self.other_columns):
            return requested or None
        others = [name for name in self.other_columns if name not in self.text_columns]
        holding = {
            name: stats for name, stats in self.text_columns.items() if stats.texts or name not in self.other_columns
        }
        path = ".".join(part for part in requested.split(".") if not part.isdecimal())
        if requested and requested not in holding and any(f"{name}.".startswith(f"{path}.") for name in holding):
            return requested  # one item of a list, or the turns of a conversation
        return choose_column(requested, holding, others, where, long=_LONG_ALONE if alone else _LONG, alone=alone)


def _count(stats: ColumnStats, text: str) -> None:
    stats.first = stats.first or text_excerpt(text)
    stats.texts += 1
    stats.characters += len(text)


def choose_column(
    requested: str,
    text_columns: Mapping[str, ColumnStats],
    others: Sequence[str] = (),
    where: str = "",
    *,
    long: int = _LONG,
    alone: bool = False,
) -> str:
    """The column to take the text from: by its usual name, or because it has most of the text.

    requested: the recipe's column, or "". text_columns: the columns that hold text. others: the other columns.
    long: mean length in characters from which a column counts as text. alone: whether even the only column needs a
    usual name or that length. Raises TextColumnError, which lists the columns.
    """
    if requested and requested in text_columns:
        return requested
    available = "it has " + (", ".join(map(repr, [*text_columns, *others][:20])) or "none")
    if requested:
        what = (
            f"{requested!r} holds no text" if requested in others else f"there is no column {requested!r}; {available}"
        )
        raise TextColumnError(what, where=where, todo="say which: --set source.column=NAME")
    full = {name: stats for name, stats in text_columns.items() if stats.texts} or dict(text_columns)
    if not full:
        raise TextColumnError(f"no column holds text; {available}", where=where)
    for usual in COMMON_NAMES:
        for name, stats in full.items():
            if name.casefold() == usual and "." not in name and not stats.nested:
                return name
    ranked = sorted(full, key=lambda name: -full[name].characters)
    most, next_most = full[ranked[0]], full[ranked[1]] if len(ranked) > 1 else ColumnStats()
    is_long = most.characters >= long * max(1, most.texts)
    flat = max((stats.characters for stats in full.values() if not stats.nested), default=0)
    for name in ranked:
        if name.rpartition(".")[2].casefold() in COMMON_NAMES and full[name].characters >= max(1, flat):
            if alone and not is_long:
                break
            return name
    if len(full) == 1 and not alone:
        return ranked[0]
    if most.characters >= _CLEARLY * next_most.characters and is_long:
        return ranked[0]
    names = ", ".join(map(repr, list(full)[:20])) + (" …" if len(full) > 20 else "")
    raise TextColumnError(
        f"the text may be in any of several columns: {names}" if len(full) > 1 else f"it has only {names}",
        where=where,
        todo="say which: --set source.column=NAME",
    )


def text_in(value: Any, path: Sequence[str]) -> str | None:
    """The text at `path` in a record, None where there is none. Lists are gone through: their texts become lines.

    A number in the path chooses one item of a list. Of turns of a conversation what was said is taken. Raises
    InvalidRecordError.
    """
    if isinstance(value, list):
        if path and path[0].isdecimal():
            index = int(path[0])
            return text_in(value[index], path[1:]) if index < len(value) else None
        texts = [text_in(item, path) for item in value]
        return "\n".join(text for text in texts if text) or None
    if value is None:
        return None
    if isinstance(value, dict):
        for end in range(len(path), 0, -1):  # names may have dots of their own
            if (name := ".".join(path[:end])) in value:
                return text_in(value[name], path[end:])
        if path:
            return None
        for name in _TURN:
            if isinstance(value.get(name), str | list):
                return text_in(value[name], ())
    elif not path:
        if isinstance(value, str):
            return value
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
    raise InvalidRecordError(f"its {'.'.join(path)!r} is not text" if path else "it is not text")


def text_excerpt(text: str) -> str:
    """The first 60 characters of a text, on one line."""
    line = " ".join(text[:240].split())
    line = line.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return line[:60] + ("…" if len(line) > 60 or len(text) > 240 else "")


def unique_column_names(names: Sequence[str]) -> list[str]:
    """The names of a table's columns, with one for each that has none or the same as another."""
    result: list[str] = []
    for number, name in enumerate(names, 1):
        name = name.strip() or f"column {number}"
        result.append(f"{name} (column {number})" if name in result else name)
    return result
