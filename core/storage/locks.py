"""POSIX record locks, which show whether a process is alive: the kernel releases them when it ends in any way.

Unlike `flock` locks they are not inherited by forked children, and unlike a pid file they cannot be stale.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from pathlib import Path

# struct flock: the order of its fields differs between Linux and macOS
_MAC = sys.platform == "darwin"
_LAYOUT = "qqihh" if _MAC else "hhqqi4x"
_WRITE_LOCK = (
    struct.pack("qqihh", 0, 0, 0, fcntl.F_WRLCK, 0) if _MAC else struct.pack(_LAYOUT, fcntl.F_WRLCK, 0, 0, 0, 0)
)

ELSEWHERE = -1
"""Returned for a holder without a pid on this machine: the kernel reports 0 for a process in another pid namespace,
such as a container, and a negative number for one on another machine. Never send it a signal."""

_HELD = (errno.EACCES, errno.EAGAIN)


class Lock:
    """An exclusive lock on `path`, held from `acquire` until `release` or until the process ends in any way.

    The file is opened here and nowhere else in the process: closing *any* descriptor of it would drop the lock.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path, self._fd = path, fd

    @classmethod
    def acquire(cls, path: Path) -> Lock | None:
        """Take the lock, creating its file; None if another process holds it.

        Raises OSError if the file cannot be written, or its file system has no locks.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in _HELD:
                return None
            raise
        return cls(path, fd)

    def stands(self) -> bool:
        """Whether the locked file is still at its path: not deleted, moved or replaced."""
        try:
            return os.path.samestat(os.fstat(self._fd), self.path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # a temporary error of the file system is no reason to stop
            return True

    def write(self, text: str) -> None:
        """Replace the content of the locked file. Raises OSError."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    def read(self) -> str:
        """The first 4,096 bytes of the locked file. Opening and closing it again would drop the lock."""
        return os.pread(self._fd, 4096, 0).decode(errors="replace")

    def release(self) -> None:
        """Release the lock. The file stays: if it were deleted, two processes could lock two files of one name."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder(path: Path | str) -> int | None:
    """The pid of the holder of the lock on `path`, `ELSEWHERE` if it has none on this machine, None if it is free.

    Needs no write access. Must not be called by the holder itself, which would lose the lock. Raises OSError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        kind, pid = _conflicting_lock(fd)
    finally:
        os.close(fd)
    if kind == fcntl.F_UNLCK:
        return None
    return pid if pid > 0 else ELSEWHERE


def _conflicting_lock(fd: int) -> tuple[int, int]:
    """Type and pid of the lock that conflicts with a write lock, from F_GETLK."""
    answer = struct.unpack(_LAYOUT, fcntl.fcntl(fd, fcntl.F_GETLK, _WRITE_LOCK))
    return (answer[3], answer[2]) if _MAC else (answer[0], answer[4])
