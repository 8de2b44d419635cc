"""Detects the layout of records in a JSON file (lines, an array, nested in an object) and converts it to lines."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from core.download.compression import TRUNCATED, BufferedStream, ByteStream
from core.download.text_column import COMMON_NAMES

HEAD_BYTES = 2**21
"""Bytes read to detect the layout."""
_CHUNK = 2**18
_DEPTH = 6
"""Nesting depth up to which records are searched for."""
_STRING_BYTES = 32 * 2**20
"""Longest string, in bytes, that is supported."""
_TEXTS = frozenset({*COMMON_NAMES, "texts", "data", "documents", "sentences", "lines"})
"""Usual names of lists of documents."""
_TURNS = ({"role", "content"}, {"from", "value"}, {"speaker", "text"})
_LONG = 40
"""Mean length in characters from which the strings of a list are documents."""

# possessive: a string without an end must not be tried from everywhere in it
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{}:,]|"', re.DOTALL)
_BREAKS = bytes.maketrans(b"\r\n", b"  ")

Path = tuple[str, ...]


class Layout(NamedTuple):
    """Layout of the records in a JSON file."""

    containers: frozenset[Path] | None = None
    """Paths of the arrays and objects whose items are records; the empty path is the outermost. None: the outermost
    values themselves are records."""
    lines: bool = False
    """Whether each record is on its own line."""
    columns: bool = False
    """`containers` are columns, each with one text for each record."""


LINES = Layout(lines=True)
VALUES = Layout()
ARRAY = Layout(frozenset({()}))


def parse_json(data: bytes) -> Any:
    """A JSON value, also with what only Python writes: NaN and lone surrogates. Raises ValueError, RecursionError."""
    try:
        return msgspec.json.decode(data)
    except ValueError:
        return json.loads(data.decode("utf-8", "replace"))


def detect_layout(head: bytes, *, whole: bool, lines: bool) -> Layout | None:
    """The layout of a file by its beginning in UTF-8; None: it is no JSON.

    whole: whether that is all of it. lines: whether its name says JSON lines.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    first, _, rest = text.partition(b"\n")
    value = _parsed(first)
    if lines and not whole and not rest:
        return LINES  # a long record
    if value is not None:
        if rest.strip() or not isinstance(value, dict | list) or not whole:
            return LINES
        if isinstance(value, list):
            return ARRAY
        return LINES if lines else _of_object(value)
    if text.startswith(b"["):
        if isinstance(parse_prefix(text), list) or (not whole and re.match(rb'\[\s*[{["]', text)):
            return ARRAY
    elif text.startswith(b"{"):
        end = _end_of_value(text)
        value = _parsed(text[:end]) if end else None
        if value is not None:
            return VALUES if lines or text[end:].strip() or not whole else _of_object(value)
        value = None if end else parse_prefix(text)
        if isinstance(value, dict) and not lines:
            return _of_object(value)
        if not whole and not end and re.match(rb'\{\s*"', text) and not lines:
            return VALUES
    if lines or not text or any(isinstance(_parsed(line), dict) for line in rest.split(b"\n", 20)[:20]):
        return LINES
    return None


def _parsed(data: bytes) -> Any:
    try:
        return parse_json(data)
    except (ValueError, RecursionError):
        return None


def _end_of_value(text: bytes) -> int:
    """Where the first object of `text` ends; 0 where it does not."""
    depth = 0
    for token in _TOKEN.finditer(text):
        character = token[0]
        depth += (character in (b"{", b"[")) - (character in (b"}", b"]"))
        if depth == 0:
            return token.end()
    return 0


def parse_prefix(text: bytes) -> Any:
    """The value that `text` begins, as far as its last whole item; None where there is none."""
    if (value := _parsed(text)) is not None:
        return value
    open_marks: list[bytes] = []
    cut, left = 0, b""
    for token in _TOKEN.finditer(text):
        character = token[0]
        if character in (b"{", b"["):
            open_marks.append(b"}" if character == b"{" else b"]")
        elif character in (b"}", b"]"):
            if not open_marks or open_marks.pop() != character:
                return None
        elif character == b",":
            cut, left = token.start(), b"".join(reversed(open_marks))
    return _parsed(text[:cut] + left) if cut else None


def _of_object(value: dict[str, Any]) -> Layout:
    """The layout of a file that is one object: a record itself, or around the records."""
    columns = _columns(value)
    if columns:
        return Layout(frozenset((name,) for name in columns), columns=True)
    paths = _records(value)
    return Layout(frozenset(paths)) if paths else VALUES


def _columns(value: dict[str, Any]) -> list[str]:
    """The fields that are columns: lists of texts, or objects with one for each row, as pandas writes them."""
    names = []
    for name, column in value.items():
        if isinstance(column, dict):
            if not column or not all(key.isdecimal() for key in column):
                return []
            column = list(column.values())
        if not isinstance(column, list) or any(isinstance(item, dict | list) for item in column):
            continue
        texts = [item for item in column if isinstance(item, str)]
        long = sum(map(len, texts)) >= _LONG * len(texts)
        if texts and (long or name.casefold() in _TEXTS):
            names.append(name)
    most = sum(len(text) for text in value.values() if isinstance(text, str))
    mine = sum(len(str(value[name])) for name in names)
    return names if mine > most else []


def _records(value: dict[str, Any], depth: int = _DEPTH - 1) -> list[Path]:
    """Paths of the arrays and objects inside `value` that are full of records."""
    if any(isinstance(text, str) and text and name.casefold() in COMMON_NAMES for name, text in value.items()):
        return []
    lists = [(name, items) for name, items in value.items() if isinstance(items, list) and items]
    paths: list[Path] = []
    for name, items in lists:
        rows = isinstance(items[0], list) and (len(lists) == 1 or name.casefold() in _TEXTS)
        if rows or (isinstance(items[0], dict) and not any(turn <= items[0].keys() for turn in _TURNS)):
            paths.append((name,))
    if paths:
        return paths
    inner = [item for item in value.values() if isinstance(item, dict)]
    if len(inner) > 1 and len(inner) == len(value):
        return [()]
    if depth:
        for name, item in value.items():
            if isinstance(item, dict):
                paths += [(name, *path) for path in _records(item, depth - 1)]
    return paths


class RecordLines(BufferedStream):
    """The records of a JSON text, each on a line of its own."""

    def __init__(self, stream: ByteStream, containers: Collection[Path] | None) -> None:
        """containers: see `Layout.containers`."""
        super().__init__()
        self._stream, self._containers = stream, containers
        self._waiting = b""
        self._last = b""  # the last string, which may be a name
        self._open: list[str | None] = []  # of each object that is open the name it is at; None for an array
        self._level = 0 if containers is None else None  # how many are open where records are; None: not inside
        self._giving = False  # in a record

    @property
    def consumed(self) -> int:
        return self._stream.consumed

    def _read_some(self, length: int) -> bytes:
        while not self.damage:
            data = self._waiting + self._stream.read(max(_CHUNK, len(self._waiting)))
            ended = self._stream.at_end()
            self.damage = self._stream.damage
            lines = self._lines(data, ended)
            if lines or ended:
                return lines
        return b""

    def _lines(self, data: bytes, ended: bool) -> bytes:
        """What there is to give of `data`; the rest waits."""
        pieces: list[bytes] = []
        start = 0
        self._waiting = b""
        for token in _TOKEN.finditer(data):
            character = data[token.start()]
            if character == 0x22:
                if token.end() - token.start() == 1:  # its end has not been read yet
                    self._waiting = data[token.start() :]
                    break
                self._last = token[0] if len(token[0]) < _CHUNK else b'""'
                continue
            here = len(self._open) == self._level
            if character in b"{[":
                if here and self._containers is None:
                    start, self._giving = token.start(), True
                if self._level is None and len(self._open) <= _DEPTH and self._path() in (self._containers or ()):
                    self._level = len(self._open) + 1
                    start, self._giving = token.end(), character == 0x5B
                self._open.append("" if character == 0x7B else None)
            elif character in b"}]":
                if not self._open:
                    self.damage = self.damage or "its brackets do not match"
                    break
                self._open.pop()
                if self._containers is None:
                    if not self._open:
                        pieces += [data[start : token.end()].translate(_BREAKS), b"\n"]
                        self._giving = False
                elif here:
                    pieces += [data[start : token.start()].translate(_BREAKS), b"\n"] if self._giving else []
                    self._giving, self._level = False, None
            elif character == 0x3A:
                if here and self._containers is not None and self._open[-1] is not None:
                    start, self._giving = token.end(), True
                elif self._level is None and self._open and self._open[-1] is not None:
                    self._open[-1] = str(_parsed(self._last))
            elif here and self._giving and self._containers is not None:
                pieces += [data[start : token.start()].translate(_BREAKS), b"\n"]
                start, self._giving = token.end(), self._open[-1] is None
        if self._giving:
            pieces.append(data[start : len(data) - len(self._waiting)].translate(_BREAKS))
        if ended and (self._open or self._waiting):
            self.damage = self.damage or TRUNCATED
        if len(self._waiting) > _STRING_BYTES:
            self.damage = f"there is a string of more than {_STRING_BYTES // 2**20} MiB in it"
        return b"".join(pieces)

    def _path(self) -> Path:
        return tuple("" if name is None else name for name in self._open)
