"""Who is alive: POSIX record locks, which the kernel releases on every kind of death and which name their owner.

Unlike `flock` they are not kept alive by a forked child, and unlike a pid in a file they cannot lie.
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
_QUESTION = struct.pack("qqihh", 0, 0, 0, fcntl.F_WRLCK, 0) if _MAC else struct.pack(_LAYOUT, fcntl.F_WRLCK, 0, 0, 0, 0)

ELSEWHERE = -1
"""Stands for the pid of a holder that has none here: the kernel says 0 of a process in another pid namespace, as of a
container that shares the home, and a negative number of one on another machine. Never send it a signal."""

_HELD = (errno.EACCES, errno.EAGAIN)


class Lock:
    """An exclusive lock on `path`, held from `acquire` until `release` or until the process ends in any way.

    The file is opened here and nowhere else in the process: closing *any* descriptor of it would drop the lock.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path, self._fd = path, fd

    @classmethod
    def acquire(cls, path: Path) -> Lock | None:
        """Take the lock; None when somebody else has it. Creates the file.

        Raises OSError where it cannot be written, or its file system knows no locks.
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
        """Whether the locked file still lies at its path: not deleted, not moved away, not replaced."""
        try:
            return os.path.samestat(os.fstat(self._fd), self.path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # a file system that stalls at this moment is no reason to end
            return True

    def release(self) -> None:
        """Give the lock back. The file stays: deleting it would let two owners lock two files of one name."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder(path: Path) -> int | None:
    """The pid that holds the lock on `path`, `ELSEWHERE` when it has none here, None when nobody holds it.

    Needs no write access. Never call this in the owner itself. Raises OSError where the file system cannot tell.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        kind, pid = _ask(fd)
    finally:
        os.close(fd)
    if kind == fcntl.F_UNLCK:
        return None
    return pid if pid > 0 else ELSEWHERE


def _ask(fd: int) -> tuple[int, int]:
    """What the kernel says of the lock that stands in the way of one for writing: its kind and its owner's pid."""
    answer = struct.unpack(_LAYOUT, fcntl.fcntl(fd, fcntl.F_GETLK, _QUESTION))
    return (answer[3], answer[2]) if _MAC else (answer[0], answer[4])
