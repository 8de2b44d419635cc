"""launches.jsonl: the supervisor's records of each worker it started and how it ended."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
from msgspec import Struct

from core.parsing import ParseError, parse
from core.storage.journal import JournalReader


class Launched(Struct, frozen=True, kw_only=True, tag=True):
    """The supervisor started a worker."""

    attempt: int
    at: float = msgspec.field(default_factory=time.time)


class Exited(Struct, frozen=True, kw_only=True, tag=True):
    """A worker exited."""

    attempt: int
    code: int
    """Its exit code, or minus the signal that ended it."""
    reason: str = ""
    """The line of the log that gives the reason, if its journal does not."""
    out_of_memory: bool = False
    """Whether the kernel killed a process for memory meanwhile."""
    gave_up: bool = False
    """Whether the supervisor will not restart it."""
    at: float = msgspec.field(default_factory=time.time)


_decoder: msgspec.json.Decoder[Launched | Exited] = msgspec.json.Decoder(Launched | Exited)


def read_launches(file: Path) -> list[Launched | Exited]:
    """The records in `file`, oldest first, without unreadable lines."""
    records = []
    for line in JournalReader(file).lines():
        try:
            records.append(parse(_decoder.decode, line))
        except ParseError:
            continue
    return records
