"""Lists the files of a source."""

from __future__ import annotations

import fnmatch
import functools
import glob
import os
import stat
import sysconfig
from collections.abc import Set
from pathlib import Path
from typing import NamedTuple

from core.download.stdlib_tables import is_table
from core.errors import LlmtuiError
from core.sources.catalog import UnknownSourceError, is_pattern, resolve_corpus

_NOT_LIBRARY = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


class UnreadableError(LlmtuiError):
    """The source exists but cannot be read."""

    doing = "read the source"


class NoTextError(LlmtuiError):
    """The source contains no text."""

    doing = "read the source"


class SourceFile(NamedTuple):
    """A file of a source."""

    name: str
    """Path relative to the source, as valid Unicode."""
    path: Path
    size: int
    """Bytes."""
    mtime_ns: int
    skip_reason: str = ""
    """Why the file is skipped; empty if it is read."""


def list_files(corpus: str) -> list[SourceFile]:
    """The files of `corpus`, a folder, a file or a pattern, in the order of their names; at least one.

    A folder is read with everything below it, except what is hidden, also where a pattern without `**` matches it.
    Symbolic links are followed; a folder that can be reached twice is read once. Raises UnknownSourceError,
    UnreadableError, NoTextError.
    """
    if corpus == "stdlib":
        return _stdlib_files()
    place = resolve_corpus(corpus)
    if is_pattern(place):
        return _glob_files(corpus, Path(place))
    path = Path(place)
    try:
        status = path.stat()
    except OSError as error:
        raise UnreadableError(os_error_reason(error), where=corpus) from None
    if stat.S_ISREG(status.st_mode):
        return [_source_file(path.name, path, status)]
    if not stat.S_ISDIR(status.st_mode):
        raise UnreadableError("it is neither a file nor a folder", where=corpus)
    files = _walk(path)
    if not files:
        raise NoTextError(
            "the folder is empty", where=corpus, todo="name a text file or a folder with text files in it"
        )
    return files


def os_error_reason(error: OSError) -> str:
    """The operating system's message for `error`, in lower case."""
    return (error.strerror or str(error)).lower()


def _stdlib_files() -> list[SourceFile]:
    """The `.py` files of this Python's standard library, without its tests, tables and what was installed beside it."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = _walk(folder, without=_NOT_LIBRARY) if folder.is_dir() else []
    files = [file for file in files if file.name.endswith(".py") and not _is_table(file)]
    if not files:
        raise NoTextError(
            "the standard library of this Python is not there as files, it may be inside a zip archive",
            where=str(folder),
            todo="name a text file or a folder of them as source.corpus",
        )
    return files


@functools.cache  # a run lists its source twice
def _is_table(file: SourceFile) -> bool:
    try:
        return not file.skip_reason and is_table(file.path.read_bytes())
    except OSError:  # reported when it is read
        return False


def _glob_files(corpus: str, pattern: Path) -> list[SourceFile]:
    """The files that match an absolute pattern, named by their path below the part of it that is fixed."""
    parts = pattern.parts
    fixed = next(index for index, part in enumerate(parts) if part != glob.escape(_unescaped(part)))
    root = Path(*(_unescaped(part) for part in parts[:fixed]))
    if "**" in parts:
        # not glob: it follows links in circles
        files = [file for file in _walk(root) if _matches(file.name.split("/"), list(parts[fixed:]))]
    else:
        files = []
        for path in map(Path, sorted(glob.glob(str(pattern)))):  # noqa: PTH207 the pattern is absolute
            try:
                status = path.stat()
            except OSError as error:
                files.append(SourceFile(_name(path, root), path, 0, 0, os_error_reason(error)))
                continue
            if stat.S_ISDIR(status.st_mode):
                files += [file._replace(name=f"{_name(path, root)}/{file.name}") for file in _walk(path)]
            else:
                files.append(_source_file(_name(path, root), path, status))
    if not files:
        raise UnknownSourceError(
            f"no file matches {corpus!r}",
            where="source.corpus",
            todo="a pattern takes *, ? and [a-z] within a name, and ** for any folders in between",
        )
    return sorted(files)


def _unescaped(part: str) -> str:
    """What `glob.escape` made of a name, undone."""
    return part.replace("[[]", "[").replace("[?]", "?").replace("[*]", "*")


def _matches(names: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return patterns[1:] == [] or any(_matches(names[skip:], patterns[1:]) for skip in range(len(names)))
    return bool(names) and fnmatch.fnmatchcase(names[0], patterns[0]) and _matches(names[1:], patterns[1:])


def _walk(root: Path, without: Set[str] = frozenset()) -> list[SourceFile]:
    files: list[SourceFile] = []
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
            files.append(SourceFile(_name(folder, root), folder, 0, 0, os_error_reason(error)))
            continue
        subfolders = []
        for name in names:
            if name.startswith(".") or name in without:
                continue
            path = folder / name
            try:
                status = path.stat()
            except OSError as error:
                files.append(SourceFile(_name(path, root), path, 0, 0, os_error_reason(error)))
                continue
            if stat.S_ISDIR(status.st_mode):
                subfolders.append(path)
            else:
                files.append(_source_file(_name(path, root), path, status))
        folders += reversed(subfolders)
    return sorted(files)


def _name(path: Path, root: Path) -> str:
    return _unicode(path.relative_to(root).as_posix())


def _unicode(name: str) -> str:
    """`name` without the stand-ins Python uses for bytes that are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def _source_file(name: str, path: Path, status: os.stat_result) -> SourceFile:
    # a pipe or a device could block for ever or never end
    skip_reason = "" if stat.S_ISREG(status.st_mode) else "not a regular file"
    return SourceFile(_unicode(name), path, status.st_size, status.st_mtime_ns, skip_reason)
