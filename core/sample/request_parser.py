"""Lines into requests. Whatever is none becomes its own refusal, with the id where the line still says one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from core.parsing import ParseError, parse
from core.sample.protocol import LONGEST, Refused, Requests, decode_request

_ID = re.compile(rb'(?<!\\)"id"\s*:\s*(\d{1,18})\b')
_HEAD = 4096
"""Bytes at a line's beginning among which its id is looked for."""


def asked(lines: BinaryIO) -> Iterator[Requests | Refused]:
    """What `lines` ask, until they end."""
    while line := lines.readline(LONGEST + 1):
        if len(line) > LONGEST and not line.endswith(b"\n"):
            head = line[:_HEAD]
            while line and not line.endswith(b"\n"):
                line = lines.readline(2**20)
            yield Refused(
                id=_id(head), what=f"the request is longer than {LONGEST / 2**20:.0f} MiB", todo="ask for less at once"
            )
        else:
            yield _request(line)


def _request(line: bytes) -> Requests | Refused:
    try:
        request: Requests = parse(decode_request, line)
    except (ParseError, MemoryError) as error:
        what = "the line is empty" if not line.strip() else f"this is no request: {error}"
        return Refused(id=_id(line[:_HEAD]), what=what)
    return request


def _id(head: bytes) -> int:
    found = _ID.search(head)
    return int(found[1]) if found else 0
