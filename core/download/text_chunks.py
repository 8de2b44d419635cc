"""Decodes a byte stream of any size to text in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from core.download.compression import ByteStream
from core.download.encoding import ensure_decodable
from core.text_encoding import decode, last_line_end

PART_BYTES = 4 * 2**20
"""Longer documents are split into parts of at most this many bytes."""


class TextChunk(NamedTuple):
    """A part of a text."""

    text: str
    replaced: int
    """Replacement characters for undecodable bytes."""
    end: int
    """Offset of the stream after this part, in bytes."""
    state: int
    """State of the decoder at `end`."""
    last: bool


def read_text_chunks(
    stream: ByteStream, encoding: str = "utf-8", start: int = 0, state: int = 0, *, where: str = ""
) -> Iterator[TextChunk]:
    """Decode a stream from offset `start`, the `end` of a chunk, at most 4 MiB at a time.

    A chunk ends at a line end if there is one in 4 MiB, else at a character boundary. An empty stream has one empty
    chunk. state: that of the previous chunk. where: the file name for error messages. Raises UnreadableError,
    EncodingError.
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
