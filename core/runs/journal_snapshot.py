"""What the events of a journal up to an offset add up to, as a file with a checksum: status.json and curves.json."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Protocol, TypeVar

from msgspec import Struct

from core.events import encode
from core.parsing import ParseError, parse_json
from core.storage.files import write_atomic
from core.storage.journal import checksum_before


class JournalOffset(Struct, frozen=True, kw_only=True):
    """How much of the journal a snapshot covers."""

    offset: int
    """Bytes."""
    check: int
    """Checksum of the journal up to there, see `core.storage.journal.checksum_before`."""
    seal: int = 0
    """CRC-32 of the snapshot file with a seal of 0."""


class HasJournalOffset(Protocol):
    """What a snapshot file contains: a Struct that encodes `journal_offset` as its first field named "place"."""

    journal_offset: JournalOffset | None


T = TypeVar("T", bound=HasJournalOffset)

_OFFSET = re.compile(rb'("place":\{"offset":\d+,"check":\d+,"seal":)(\d+)')


def write_snapshot(path: Path, snapshot: HasJournalOffset, journal: Path, offset: int) -> None:
    """Write `snapshot`, which has absorbed the first `offset` bytes of `journal`. Raises OSError."""
    snapshot.journal_offset = JournalOffset(offset=offset, check=checksum_before(journal, offset) or 0)
    unsealed = encode(snapshot)  # type: ignore[arg-type] # all of them are Structs
    sealed = _OFFSET.sub(rb"\g<1>%d" % zlib.crc32(unsealed), unsealed, count=1)
    write_atomic(path, sealed, durable=False)


def read_snapshot(path: Path, kind: type[T], journal: Path) -> tuple[T, int] | None:
    """The snapshot in the file at `path`, and the offset in `journal` up to which it has absorbed the events.

    None if the file is missing, damaged, of another journal, or written by a version without offsets.
    """
    try:
        raw = path.read_bytes()
        snapshot = parse_json(raw, kind)
    except (OSError, ParseError):
        return None
    found, offset = _OFFSET.search(raw), snapshot.journal_offset
    if not found or not offset or zlib.crc32(_OFFSET.sub(rb"\g<1>0", raw, count=1)) != int(found[2]):
        return None
    return (snapshot, offset.offset) if checksum_before(journal, offset.offset) == offset.check else None
