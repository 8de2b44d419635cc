"""Who is alive: POSIX record locks, which the kernel releases on every kind of death and which name their owner.

Unlike `flock` they are not kept alive by a forked child, and unlike a pid in a file they cannot lie.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from pathlib import Path

# struct flock: the order of its fields differs between Linux and macOS
_MAC = sys.platform == "darwin"
_LAYOUT = "qqihh" if _MAC else "hhqqi4x"
_ASK = struct.pack("qqihh", 0, 0, 0, fcntl.F_WRLCK, 0) if _MAC else struct.pack(_LAYOUT, fcntl.F_WRLCK, 0, 0, 0, 0)


class Lock:
    """An exclusive lock on `path`, held from `acquire` until `release` or until the process ends in any way.

    The file is opened here and nowhere else in the process: closing *any* descriptor of it would drop the lock.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path, self._fd = path, fd

    @classmethod
    def acquire(cls, path: Path) -> Lock | None:
        """Take the lock; None when somebody else has it. Creates the file."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        return cls(path, fd)

    def stands(self) -> bool:
        """Whether the locked file still lies at its path: not deleted, not moved away, not replaced."""
        try:
            return os.path.samestat(os.fstat(self._fd), self.path.stat())
        except FileNotFoundError:
            return False

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
    """The pid that holds the lock on `path`, None when nobody does. Never call this in the owner itself."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        answer = struct.unpack(_LAYOUT, fcntl.fcntl(fd, fcntl.F_GETLK, _ASK))
    finally:
        os.close(fd)
    kind, pid = (answer[3], answer[2]) if _MAC else (answer[0], answer[4])
    return None if kind == fcntl.F_UNLCK else int(pid)
