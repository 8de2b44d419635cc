"""Size and deletion of directories that locks protect: runs and artifacts."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable
from pathlib import Path

from core.errors import DiskError, LlmtuiError
from core.runs.errors import RunActiveError
from core.storage.files import remove_tree
from core.storage.locks import Lock


def bytes_in(directory: Path) -> int:
    """Disk space of the files in `directory`; files that disappear meanwhile are not counted."""
    total = 0
    for file in directory.rglob("*"):
        with contextlib.suppress(OSError):
            status = file.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def remove_directory(path: Path) -> None:
    """Delete the run in the directory `path`, readable or not. Raises RunActiveError, DiskError."""
    locks = (path / name for name in ("supervisor.lock", "writer.lock"))
    busy = RunActiveError(f"{path.name} is running", todo=f"stop it first: llmtui stop {path.name}")
    remove_locked(path, locks, busy)


def remove_locked(path: Path, lock_files: Iterable[Path], busy: LlmtuiError) -> None:
    """Delete the directory `path` while its locks are held. Raises `busy` if another process holds one, DiskError.

    The locks are acquired first, so that what starts at this moment is not deleted. A symbolic link is refused: its
    target would stay on the disk.
    """
    if path.is_symlink():
        raise DiskError(
            f"it is a link to {path.readlink()}",
            where=str(path),
            kept="nothing was deleted",
            todo="delete what it leads to, then the link, yourself",
        )
    with contextlib.ExitStack() as locks:
        for file in lock_files:
            try:
                lock = Lock.acquire(file)
            except OSError as error:
                raise DiskError.from_oserror(error, path, kept="nothing was deleted") from None
            if lock is None:
                raise busy
            locks.enter_context(lock)
        try:
            remove_tree(path)
        except OSError as error:
            raise DiskError.from_oserror(error, path, kept="nothing was deleted") from None
