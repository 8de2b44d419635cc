"""Text out of a file of any size, in bounded memory."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from core.download.listing import Unreadable, reason

PART_BYTES = 4 * 2**20
"""A longer document is cut into parts."""
_SNIFF_BYTES = 8192


class Piece(NamedTuple):
    """One part of a file."""

    text: str
    replaced: int
    """Characters that stand for bytes which are not UTF-8."""
    end: int
    """Offset in the file behind it, in bytes."""
    last: bool


def looks_binary(path: Path) -> bool:
    """Whether there is a NUL byte near the beginning, as in every common binary format. Raises OSError."""
    with path.open("rb") as file:
        return b"\0" in file.read(_SNIFF_BYTES)


def read_pieces(path: Path, size: int, start: int = 0) -> Iterator[Piece]:
    """The text of the first `size` bytes of a file from offset `start`, at most 4 MiB a piece.

    A piece ends with a line, or where there is no line end in 4 MiB, with a character. An empty file has one
    empty piece. A file that shrank meanwhile ends earlier; what was appended is left out. Raises Unreadable.
    """
    last = False
    while not last:
        raw = _read(path, start, min(PART_BYTES, size - start))
        last = start + len(raw) >= size or not raw
        line = 0 if last else raw.rfind(b"\n") + 1
        text, used = codecs.utf_8_decode(raw[:line] if line else raw, "replace", last or line > 0)
        replaced = text.count("\ufffd")
        if replaced:
            replaced -= raw[:used].count(b"\xef\xbf\xbd")
        if start == 0:
            text = text.removeprefix("\ufeff")
        start += used
        yield Piece(text, replaced, start, last)


def _read(path: Path, start: int, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)
    except OSError as error:
        raise Unreadable(reason(error), where=str(path)) from None
