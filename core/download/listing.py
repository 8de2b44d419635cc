"""Which files a source consists of."""

from __future__ import annotations

import os
import stat
import sysconfig
from collections.abc import Set
from pathlib import Path
from typing import NamedTuple

from core.sources import located
from core.trouble import Trouble

_NOT_LIBRARY = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


class Unreadable(Trouble):
    """The source is there but cannot be read."""

    doing = "read the source"


class NoText(Trouble):
    """The source holds nothing that could be learned from."""

    doing = "read the source"


class Found(NamedTuple):
    """One file of a source."""

    name: str
    """Path below the source, valid Unicode whatever the file system holds."""
    path: Path
    size: int
    """Bytes."""
    mtime_ns: int
    refused: str = ""
    """Why it cannot be used; empty for a good one."""


def list_source(corpus: str) -> list[Found]:
    """The files of `corpus` in the order of their names; at least one.

    A folder is read with everything below it, except what is hidden. Symbolic links are followed; a folder that
    can be reached twice is read once. Raises UnknownSource, Unreadable, NoText.
    """
    if corpus == "stdlib":
        return _library()
    path = Path(located(corpus))
    try:
        status = path.stat()
    except OSError as error:
        raise Unreadable(reason(error), where=corpus) from None
    if stat.S_ISREG(status.st_mode):
        return [_found(path.name, path, status)]
    if not stat.S_ISDIR(status.st_mode):
        raise Unreadable("it is neither a file nor a folder", where=corpus)
    found = _walk(path)
    if not found:
        raise NoText("the folder is empty", where=corpus, todo="name a text file or a folder with text files in it")
    return found


def reason(error: OSError) -> str:
    """What went wrong, in the words of the operating system, to follow "…: "."""
    return (error.strerror or str(error)).lower()


def _library() -> list[Found]:
    """The `.py` files of this Python's standard library, without its tests and what was installed beside it."""
    folder = Path(sysconfig.get_path("stdlib"))
    found = (
        [file for file in _walk(folder, without=_NOT_LIBRARY) if file.name.endswith(".py")] if folder.is_dir() else []
    )
    if not found:
        raise NoText(
            "the standard library of this Python is not there as files, it may be inside a zip archive",
            where=str(folder),
            todo="name a text file or a folder of them as source.corpus",
        )
    return found


def _walk(root: Path, without: Set[str] = frozenset()) -> list[Found]:
    found: list[Found] = []
    folders = [root]
    visited: set[tuple[int, int]] = set()
    while folders:
        folder = folders.pop()
        try:
            status = folder.stat()
            # a link back to a folder above would never end
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            found.append(Found(_name(folder, root), folder, 0, 0, reason(error)))
            continue
        inside = []
        for name in names:
            if name.startswith(".") or name in without:
                continue
            path = folder / name
            try:
                status = path.stat()
            except OSError as error:
                found.append(Found(_name(path, root), path, 0, 0, reason(error)))
                continue
            if stat.S_ISDIR(status.st_mode):
                inside.append(path)
            else:
                found.append(_found(_name(path, root), path, status))
        folders += reversed(inside)
    return sorted(found)


def _name(path: Path, root: Path) -> str:
    return _unicode(path.relative_to(root).as_posix())


def _unicode(name: str) -> str:
    """`name` without the stand-ins Python uses for bytes that are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def _found(name: str, path: Path, status: os.stat_result) -> Found:
    # a pipe or a device could block for ever or never end
    refused = "" if stat.S_ISREG(status.st_mode) else "not a regular file"
    return Found(_unicode(name), path, status.st_size, status.st_mtime_ns, refused)
