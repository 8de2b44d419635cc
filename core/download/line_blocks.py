"""Whole lines out of a stream, a few MiB at a time, whatever the length of a line."""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from core.download.compression import ByteStream

BLOCK_BYTES = 4 * 2**20
RECORD_BYTES = 32 * 2**20
"""A longer record is not held in memory: it counts as broken."""


class LineBlock(NamedTuple):
    """Some whole lines."""

    data: bytes
    """Empty for a line that is too long, and while the end of one is looked for."""
    start: int
    """Offset in the stream, in bytes."""
    end: int
    lines: int
    """Lines before it."""
    too_long: bool = False


def read_blocks(stream: ByteStream, start: int = 0, lines: int = 0) -> Generator[LineBlock, int | None, None]:
    """The lines of a stream from offset `start`, which is the beginning of line `lines` (from 0).

    What is sent in is how many bytes at the end of the block, whole lines, are to begin the next one. The last line
    may lack its end, except that of a damaged stream, which is left out. Raises UnreadableError.
    """
    stream.skip(start)
    waiting = b""
    while not stream.at_end() or waiting:
        room = BLOCK_BYTES - len(waiting)
        data = waiting + stream.read(room if room > 0 else BLOCK_BYTES)
        last = stream.at_end()
        end = data.rfind(b"\n", len(waiting)) + 1
        if last and not stream.damage:
            end = len(data)
        if end:
            end -= (yield LineBlock(data[:end], start, start + end, lines)) or 0
            start, lines = start + end, lines + data.count(b"\n", 0, end)
            waiting = data[end:]
        elif len(data) > RECORD_BYTES:
            passed, after = len(data), lines + data.count(b"\n") + 1
            del data
            waiting = b""
            while (piece := stream.read(BLOCK_BYTES)) and (end := piece.find(b"\n") + 1) == 0:
                passed += len(piece)
                yield LineBlock(b"", start, start, lines)
            passed += end if piece else 0
            waiting = piece[end:]
            yield LineBlock(b"", start, start + passed, lines, too_long=True)
            start, lines = start + passed, after
        else:
            waiting = data
            yield LineBlock(b"", start, start, lines)
        if last and stream.damage:
            return
