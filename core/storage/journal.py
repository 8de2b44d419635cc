"""The journal, a file of events as JSON lines: writing it, and reading it while it grows."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.events import AnyEvent, decode
from core.parsing import ParseError

CHECKED = 4096
"""Bytes before a place in a journal by which it is known again."""

CHUNK = 2**18
"""Bytes of a journal in memory at a time: all of one of a million steps took 670 MB."""


class JournalWriter:
    """Append-only writer of a file of lines: one `write` a line, so that only a full disk can tear one.

    Opening it cuts off a torn last line that a crash left. One writer at a time, which the writer's lock ensures.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._size = self._heal()

    def _heal(self) -> int:
        """Cut the file behind its last newline; its size after that."""
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
        """Bytes of the file, which end with a complete line."""
        return self._size

    def append(self, line: bytes) -> bool:
        """Write `line` and a newline; False when the disk is full, and then nothing of it stays."""
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
        os.close(self._fd)


def read_backwards(path: Path) -> Iterator[AnyEvent]:
    """The events in the last MiB or so of a journal, the last one first; what cannot be read is passed over.

    Reads as much as is asked for, 2 KiB and then some 16 KiB at a time: whoever lists runs asks for the last line.
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
    """What tells whether the file of lines at `path` is still the same up to `offset`: a checksum of the lines before.

    None where no line ends there.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, offset - CHECKED))
            before = file.read(min(offset, CHECKED))
    except OSError:
        return None
    return zlib.crc32(before) if len(before) == min(offset, CHECKED) and before.endswith(b"\n") else None


class JournalReader:
    """What is new in a file of lines since the last look, safe beside a writer, a crash and a replaced file."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """offset: where to begin, behind a complete line."""
        self.path = path
        self.offset = offset
        self.unreadable = 0
        """Complete lines that were no event: damage, or a newer version's words."""
        self._inode = path.stat().st_ino if offset else 0

    def lines(self, limit: int = -1) -> list[bytes]:
        """The complete lines since the last call. A file that shrank or was replaced is read from its start.

        limit: read only about so many bytes now; the next call goes on behind them.
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
                    data += file.readline()  # a line longer than the limit must not stop everything behind it
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self.offset += end
        return data[:end].splitlines()

    def iter_lines(self) -> Iterator[bytes]:
        """The complete lines since the last call, however many: some hundred kB of them are in memory at a time."""
        while lines := self.lines(CHUNK):
            yield from lines

    def iter_events(self) -> Iterator[AnyEvent]:
        """The events since the last call, however many, in as little memory."""
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
