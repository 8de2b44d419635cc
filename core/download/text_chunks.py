"""Plain text out of a stream of any size, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from core.download.compression import ByteStream
from core.download.encoding import decode, ensure_decodable, last_line_end

PART_BYTES = 4 * 2**20
"""A longer document is cut into parts."""


class TextChunk(NamedTuple):
    """One part of a text."""

    text: str
    replaced: int
    """Characters that stand for bytes which mean nothing in its encoding."""
    end: int
    """Offset in the stream behind it, in bytes."""
    state: int
    """What the decoder has to know to go on there."""
    last: bool


def read_text_chunks(
    stream: ByteStream, encoding: str = "utf-8", start: int = 0, state: int = 0, *, where: str = ""
) -> Iterator[TextChunk]:
    """The text of a stream from offset `start`, where a piece ended, made from at most 4 MiB a piece.

    A piece ends with a line, or where there is no line end in 4 MiB, with a character. An empty stream has one
    empty piece. where: the file's name, for people. Raises UnreadableError, EncodingError.
    """
    stream.skip(start)
    if start and stream.at_end():
        return
    waiting, last = b"", False
    while not last:
        data = waiting + stream.read(PART_BYTES - len(waiting))
        last = stream.at_end()
        end = 0 if last else last_line_end(data, encoding)
        piece = decode(data[:end] if end else data, encoding, state, final=last)
        ensure_decodable(piece, encoding, where)
        text = piece.text.removeprefix("\ufeff") if start == 0 else piece.text
        waiting, state = data[piece.used :], piece.state
        start += piece.used
        yield TextChunk(text, piece.replaced, start, state, last)
