"""Files that say what a journal adds up to, up to a place in it: sealed, since every figure in them is believed."""

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


class Place(Struct, frozen=True, kw_only=True):
    """Up to where in the journal a file goes."""

    offset: int
    """Bytes."""
    check: int
    """Of the journal before it, as `core.storage.journal.checksum_before` has it."""
    seal: int = 0
    """CRC-32 of the file with a seal of 0: whoever goes on from it believes every figure in it."""


class Placed(Protocol):
    """What is kept in such a file. Of several places in it the first is its own."""

    place: Place | None


Kept = TypeVar("Kept", bound=Placed)

_PLACE = re.compile(rb'("place":\{"offset":\d+,"check":\d+,"seal":)(\d+)')


def write_sealed(path: Path, kept: Placed, journal: Path, offset: int) -> None:
    """Write what `journal` adds up to up to `offset`. Raises OSError."""
    kept.place = Place(offset=offset, check=checksum_before(journal, offset) or 0)
    blank = encode(kept)  # type: ignore[arg-type] # all of them are Structs
    sealed = _PLACE.sub(rb"\g<1>%d" % zlib.crc32(blank), blank, count=1)
    write_atomic(path, sealed, durable=False)


def read_sealed(path: Path, kind: type[Kept], journal: Path) -> tuple[Kept, int] | None:
    """What the file at `path` says of `journal`, and up to which offset.

    None where it is not there, damaged, of another journal, or older than the places in such files.
    """
    try:
        raw = path.read_bytes()
        kept = parse_json(raw, kind)
    except (OSError, ParseError):
        return None
    found, place = _PLACE.search(raw), kept.place
    if not found or not place or zlib.crc32(_PLACE.sub(rb"\g<1>0", raw, count=1)) != int(found[2]):
        return None
    return (kept, place.offset) if checksum_before(journal, place.offset) == place.check else None
