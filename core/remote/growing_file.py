"""Files that only grow, as both sides of a mirror see them."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from core.remote.messages import MIRRORED, Mirrored
from core.storage.files import private

CHECKED = 4096
"""Bytes before an offset whose checksum identifies the content up to there."""


def checksum(path: Path, size: int) -> int:
    """CRC-32 of the last `CHECKED` of the first `size` bytes of a file; -1 if it is shorter. Raises OSError."""
    count = min(size, CHECKED)
    with path.open("rb") as file:
        file.seek(size - count)
        data = file.read(count)
    return zlib.crc32(data) if len(data) == count else -1


def mirrored_files(run_directory: Path) -> dict[str, Mirrored]:
    """What a mirror has of a run's files."""
    return {name: _mirrored(run_directory / name) for name in MIRRORED}


def _mirrored(path: Path) -> Mirrored:
    try:
        size = path.stat().st_size
        return Mirrored(size, checksum(path, size))
    except OSError:
        return Mirrored(0, 0)


def continues(path: Path, mirrored: Mirrored) -> bool:
    """Whether what the mirror has is how the file at `path` begins."""
    try:
        return checksum(path, mirrored.size) == mirrored.checksum
    except OSError:
        return not mirrored.size


def write_at(path: Path, offset: int, data: bytes) -> None:
    """Write `data` at `offset` and end the file after it. Raises OSError, also if the file is shorter than `offset`."""
    with open(path, "ab", opener=private) as file:
        if os.fstat(file.fileno()).st_size < offset:
            raise OSError(f"{path.name} ends before byte {offset:,}")
        os.ftruncate(file.fileno(), offset)
        file.write(data)
