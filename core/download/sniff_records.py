"""Records spread over a file, to find out which of their fields holds the text."""

from __future__ import annotations

from collections.abc import Iterator

from core.download.compression import ByteStream
from core.download.json_layout import parse_json
from core.download.line_blocks import BLOCK_BYTES, RECORD_BYTES
from core.download.text_column import Columns

_FIRST = 2**20
"""Bytes looked at from the beginning on."""
_SPOTS, _SPOT = 32, 2**17
"""Places looked at behind them, and bytes of each."""
_WIDER = 1.1
"""Times as far from each place to the next, where nobody knows how long the file is: some 120 MiB in all."""
_RECORDS = 400
"""Decoded of each of these."""


def sample_lines(stream: ByteStream, length: int | None) -> Iterator[list[bytes]]:
    """Whole lines from the beginning of a stream, then from places spread over it.

    length: bytes of the stream; None: nobody knows, and what lies between has to be read. Raises UnreadableError.
    """
    head = stream.read(_FIRST)
    while b"\n" not in head[-BLOCK_BYTES:] and len(head) < RECORD_BYTES and (more := stream.read(BLOCK_BYTES)):
        head += more
    found = head.split(b"\n")
    yield found if stream.at_end() else found[:-1]
    gap = float(_SPOT) if length is None else max(0, (length - len(head)) // _SPOTS - _SPOT)
    for _ in range(_SPOTS):
        if stream.at_end():
            return
        stream.skip(int(gap))
        yield stream.read(_SPOT).split(b"\n")[1:-1]
        gap *= _WIDER if length is None else 1


def infer_json_columns(stream: ByteStream, length: int | None) -> Columns:
    """The fields of JSON lines and what they hold. length: see `sample_lines`. Raises UnreadableError."""
    columns = Columns()
    for found in sample_lines(stream, length):
        # every so many: the first of a file may be all alike
        for line in found[:: max(1, len(found) // _RECORDS)]:
            if not line or line.isspace():
                continue
            try:
                columns.add_record(parse_json(line.removeprefix(b"\xef\xbb\xbf")))
            except (ValueError, RecursionError):
                continue
    return columns


def occurs_anywhere(stream: ByteStream, field: str) -> bool:
    """Whether some record may have `field`, a path: for a field so rare that no record looked at has it."""
    name = f'"{field.rpartition(".")[2]}"'.encode()
    waiting = b""
    while data := stream.read(BLOCK_BYTES):
        if name in waiting + data:
            return True
        waiting = data[-len(name) :]
    return False
