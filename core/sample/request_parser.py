"""Parsing of request lines. Invalid lines become a `Refused` reply, with the request's id if the line has one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from core.parsing import ParseError, parse
from core.sample.protocol import MAX_LINE_BYTES, AnyRequest, Refused, decode_request

_ID = re.compile(rb'(?<!\\)"id"\s*:\s*(\d{1,18})\b')
_ID_SEARCH_BYTES = 4096
"""An id is searched for in so many bytes at the start of an invalid line."""


def read_requests(lines: BinaryIO) -> Iterator[AnyRequest | Refused]:
    """The requests in `lines`, until end of file."""
    while line := lines.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            start = line[:_ID_SEARCH_BYTES]
            while line and not line.endswith(b"\n"):
                line = lines.readline(2**20)
            what = f"the request is longer than {MAX_LINE_BYTES / 2**20:.0f} MiB"
            yield Refused(id=_find_id(start), what=what, todo="ask for less at once")
        else:
            yield _parse_request(line)


def _parse_request(line: bytes) -> AnyRequest | Refused:
    try:
        request: AnyRequest = parse(decode_request, line)
    except (ParseError, MemoryError) as error:
        what = "the line is empty" if not line.strip() else f"this is no request: {error}"
        return Refused(id=_find_id(line[:_ID_SEARCH_BYTES]), what=what)
    return request


def _find_id(start: bytes) -> int:
    found = _ID.search(start)
    return int(found[1]) if found else 0
