"""Samples records of a file to find out which field holds the text."""

from __future__ import annotations

from collections.abc import Iterator

from core.download.compression import ByteStream
from core.download.json_layout import parse_json
from core.download.line_blocks import BLOCK_BYTES, RECORD_BYTES
from core.download.text_column import Columns

_FIRST = 2**20
"""Bytes sampled from the start of the file."""
_SPOTS, _SPOT = 32, 2**17
"""Positions sampled after them, and bytes of each."""
_WIDER = 1.1
"""Growth of the distance between positions if the file length is unknown: about 120 MiB in total."""
_RECORDS = 400
"""Records decoded per position."""


def sample_lines(stream: ByteStream, length: int | None) -> Iterator[list[bytes]]:
    """Whole lines from the start of a stream, then from positions spread over it.

    length: bytes of the stream; None if unknown: then everything up to the last position is read. Raises
    UnreadableError.
    """
    head = stream.read(_FIRST)
    while b"\n" not in head[-BLOCK_BYTES:] and len(head) < RECORD_BYTES and (more := stream.read(BLOCK_BYTES)):
        head += more
    sample = head.split(b"\n")
    yield sample if stream.at_end() else sample[:-1]
    gap = float(_SPOT) if length is None else max(0, (length - len(head)) // _SPOTS - _SPOT)
    for _ in range(_SPOTS):
        if stream.at_end():
            return
        stream.skip(int(gap))
        yield stream.read(_SPOT).split(b"\n")[1:-1]
        gap *= _WIDER if length is None else 1


def infer_json_columns(stream: ByteStream, length: int | None) -> Columns:
    """Statistics of the fields of JSON lines. length: see `sample_lines`. Raises UnreadableError."""
    columns = Columns()
    for sample in sample_lines(stream, length):
        # evenly spaced: the first records of a file may be alike
        for line in sample[:: max(1, len(sample) // _RECORDS)]:
            if not line or line.isspace():
                continue
            try:
                columns.add_record(parse_json(line.removeprefix(b"\xef\xbb\xbf")))
            except (ValueError, RecursionError):
                continue
    return columns


def occurs_anywhere(stream: ByteStream, field: str) -> bool:
    """Whether any record may have `field`, a path, although no sampled record has it."""
    name = f'"{field.rpartition(".")[2]}"'.encode()
    waiting = b""
    while data := stream.read(BLOCK_BYTES):
        if name in waiting + data:
            return True
        waiting = data[-len(name) :]
    return False
