"""Atomic file and directory operations: after a crash a file has either its old or its new content."""

from __future__ import annotations

import codecs
import contextlib
import glob
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_REPLACED = ".replaced-"

_NO_FILES = ("idna", "punycode", "unicode_escape", "raw-unicode-escape", "raw_unicode_escape")
"""Text codecs of Python that are not used for files."""


def codec_named(name: str) -> str:
    """Python's name of a text encoding given by the user; "" if there is none."""
    try:
        known = codecs.lookup(name.strip()).name
        b"a".decode(known)
        codecs.getincrementaldecoder(known)
    except (LookupError, UnicodeError, ValueError):
        return ""
    return "" if known in _NO_FILES else {"ascii": "utf-8", "utf-8-sig": "utf-8"}.get(known, known)


def private(name: str, flags: int) -> int:
    """An `opener` for `open` that creates files readable by their owner alone, whatever the umask."""
    return os.open(name, flags | os.O_CLOEXEC, 0o600)


def fsync_directory(path: Path) -> None:
    """Make renames and creations inside `path` survive a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_file(path: Path) -> None:
    """Flush a closed file to disk (safetensors and Parquet writers never fsync)."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def creating_directory(path: Path) -> Iterator[Path]:
    """Yields a new directory beside `path`, which gets that name if the block succeeds, and is deleted otherwise.

    Raises OSError.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        staged.mkdir(mode=0o700)
        yield staged
        staged.rename(path)
        fsync_directory(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            remove_tree(staged)
        raise


def remove_unfinished(path: Path) -> None:
    """Delete what `creating_directory(path)` has left in processes that were killed. Raises OSError."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = left.name.removesuffix(".tmp").rpartition(".")[2]
        if pid.isdecimal() and left.is_dir() and not _exists(int(pid)):
            remove_tree(left)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which replaces it if the block succeeds, and is deleted otherwise.

    durable: also fsync the file and its directory. Without it a power cut may restore the old content, which is
    acceptable for status files.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield staged
        if durable:
            fsync_file(staged)
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    if durable:
        fsync_directory(path.parent)


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace the content of `path` by `data` atomically."""
    with replacing(path, durable=durable) as staged:
        staged.write_bytes(data)


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_tree(path: Path) -> None:
    """Delete a directory atomically: rename it, then delete."""
    trash = path.with_name(f".trash-{path.name}-{os.getpid()}")
    try:
        path.rename(trash)
    except OSError:
        if os.path.lexists(path):
            raise
        return  # a read-only file system reports EROFS even if nothing exists
    shutil.rmtree(trash, ignore_errors=True)


def replace_tree(staged: Path, final: Path) -> None:
    """Rename the directory `staged` to `final`, replacing an existing one.

    A directory cannot be renamed onto another: the old one is moved aside first, and `sweep` restores it after a crash.
    """
    old = final.with_name(f"{_REPLACED}{final.name}")
    shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        final.rename(old)
    try:
        staged.rename(final)
    except OSError:
        if old.exists():
            old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def sweep(directory: Path) -> None:
    """Delete `.trash-*` and `.*.tmp` left by dead processes, and restore directories of interrupted replacements.

    Only for the holder of the lock.
    """
    for old in directory.glob(f"{_REPLACED}*"):
        final = old.with_name(old.name.removeprefix(_REPLACED))
        shutil.rmtree(old, ignore_errors=True) if final.exists() else old.rename(final)
    for left in directory.glob(".trash-*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in directory.glob(".*.tmp"):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
