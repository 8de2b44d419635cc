"""The journal, a file of events as JSON lines: writing it, and reading it while it grows."""

from __future__ import annotations

import contextlib
import os
import weakref
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.events import AnyEvent, decode
from core.parsing import ParseError

CHECKED = 4096
"""Bytes before an offset in a journal whose checksum identifies it."""

CHUNK = 2**18
"""Bytes of a journal read at a time: the whole journal of a million steps took 670 MB."""


class JournalWriter:
    """Append-only writer of a file of lines: one `write` per line, so that only a full disk can truncate a line.

    Removes an incomplete last line, as left by a crash, when opened. One writer at a time, which its lock ensures. The
    file is closed by `close`, or with the object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._close = weakref.finalize(self, os.close, self._fd)
        self._size = self._truncate_incomplete_line()

    def _truncate_incomplete_line(self) -> int:
        """Truncate the file after its last newline; returns its size."""
        end = os.fstat(self._fd).st_size
        while end:
            start = max(0, end - 65536)
            cut = os.pread(self._fd, end - start, start).rfind(b"\n")
            if cut >= 0:
                end = start + cut + 1
                break
            end = start
        os.ftruncate(self._fd, end)
        return end

    @property
    def size(self) -> int:
        """Bytes of the file, which ends with a complete line."""
        return self._size

    def append(self, line: bytes) -> bool:
        """Write `line` and a newline; False if the disk is full: then nothing is written."""
        data = line + b"\n"
        try:
            written = os.write(self._fd, data)
        except OSError:
            written = 0
        if written != len(data):
            os.ftruncate(self._fd, self._size)
            return False
        self._size += written
        return True

    def sync(self) -> None:
        """Make all lines so far survive a power cut."""
        os.fsync(self._fd)

    def close(self) -> None:
        self._close()


def read_backwards(path: Path) -> Iterator[AnyEvent]:
    """The events in the last MiB of a journal, last one first; unreadable lines are skipped.

    Reads lazily, first 2 KiB and then 16 KiB at a time: the list of runs needs only the last line.
    """
    try:
        with path.open("rb", buffering=0) as file:
            start = file.seek(0, os.SEEK_END)
            end, rest, size = max(0, start - 2**20), b"", 2**11
            while start > end:
                size = min(size, start)
                start -= size
                file.seek(start)
                begun, *lines = (file.read(size) + rest).split(b"\n")
                rest, size = begun, 2**14
                for line in reversed(lines if start else [begun, *lines]):
                    with contextlib.suppress(ParseError):
                        yield decode(line)
    except FileNotFoundError:
        return


def checksum_before(path: Path, offset: int) -> int | None:
    """CRC-32 of the `CHECKED` bytes of the file before `offset`, to detect that the file was replaced.

    None if no line ends at `offset`.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, offset - CHECKED))
            before = file.read(min(offset, CHECKED))
    except OSError:
        return None
    return zlib.crc32(before) if len(before) == min(offset, CHECKED) and before.endswith(b"\n") else None


def tail_offset(path: Path, limit: int) -> int:
    """Where a line of the file begins from which about `limit` bytes are left; 0 for a shorter file or none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size <= limit:
                return 0
            file.seek(size - limit)
            file.readline()
            return file.tell()
    except OSError:
        return 0


class JournalReader:
    """Reads new lines of a journal while it is written; handles crashes and replaced files."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """offset: where to start, after a complete line."""
        self.path = path
        self.offset = offset
        self.unreadable = 0
        """Complete lines that are no event: damaged, or of a newer version."""
        self._inode = path.stat().st_ino if offset else 0

    def lines(self, limit: int = -1) -> list[bytes]:
        """The complete lines since the last call. A file that shrank or was replaced is read from its start.

        limit: approximate maximum bytes to read; the next call continues after them.
        """
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self.offset:
                    self._inode, self.offset = status.st_ino, 0
                if status.st_size == self.offset:
                    return []
                file.seek(self.offset)
                data = file.read(limit)
                if limit >= 0 and b"\n" not in data:
                    data += file.readline()  # a line longer than the limit must not block later ones
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self.offset += end
        return data[:end].splitlines()

    def iter_lines(self) -> Iterator[bytes]:
        """The complete lines since the last call, read in chunks of `CHUNK` bytes."""
        while lines := self.lines(CHUNK):
            yield from lines

    def iter_events(self) -> Iterator[AnyEvent]:
        """The events since the last call, read in chunks of `CHUNK` bytes."""
        return iter(self._decoded(self.iter_lines()))

    def events(self, limit: int = -1) -> list[AnyEvent]:
        """The events since the last call, or those in about the next `limit` bytes."""
        return list(self._decoded(self.lines(limit)))

    def _decoded(self, lines: Iterable[bytes]) -> Iterable[AnyEvent]:
        for line in lines:
            try:
                yield decode(line)
            except ParseError:
                self.unreadable += 1
