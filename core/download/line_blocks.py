"""Reads whole lines from a byte stream in blocks of a few MiB."""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from core.download.compression import ByteStream

BLOCK_BYTES = 4 * 2**20
RECORD_BYTES = 32 * 2**20
"""Longer records are not held in memory and count as invalid."""


class LineBlock(NamedTuple):
    """Consecutive whole lines."""

    data: bytes
    """Empty for a line that is too long, and while its end is searched for."""
    start: int
    """Offset in the stream, in bytes."""
    end: int
    lines: int
    """Number of lines before it."""
    too_long: bool = False


def read_blocks(stream: ByteStream, start: int = 0, lines: int = 0) -> Generator[LineBlock, int | None, None]:
    """Read the lines of a stream from offset `start`, the start of line `lines` (from 0).

    The caller may send how many bytes at the end of the block, whole lines, should start the next block. The last
    line may lack its line end; that of a damaged stream is dropped. Raises UnreadableError.
    """
    stream.skip(start)
    waiting = b""
    while not stream.at_end() or waiting:
        missing = BLOCK_BYTES - len(waiting)
        data = waiting + stream.read(missing if missing > 0 else BLOCK_BYTES)
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
