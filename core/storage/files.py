"""Writing files so that a crash leaves the old content or the new, never half of either."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_REPLACED = ".replaced-"

_NO_FILES = ("idna", "punycode", "unicode_escape", "raw-unicode-escape", "raw_unicode_escape")
"""Python's encodings of text that nobody writes files in."""


def codec_named(name: str) -> str:
    """Python's name of an encoding of text that a person names, "" where there is none of that name."""
    try:
        known = codecs.lookup(name.strip()).name
        b"a".decode(known)
        codecs.getincrementaldecoder(known)
    except (LookupError, UnicodeError, ValueError):
        return ""
    return "" if known in _NO_FILES else {"ascii": "utf-8", "utf-8-sig": "utf-8"}.get(known, known)


def private(name: str, flags: int) -> int:
    """An `opener` for `open`: files that hold what people write or say are theirs alone, whatever the umask."""
    return os.open(name, flags | os.O_CLOEXEC, 0o600)


def fsync_directory(path: Path) -> None:
    """Make renames and creations inside `path` survive a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_file(path: Path) -> None:
    """Flush what other code has written to `path` and closed (safetensors and Parquet writers never fsync)."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it takes the place of `path`, else it goes.

    durable: also fsync the file and its directory. Without it a power cut may bring the old content back, which
    is good enough for status files.
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
    """Replace the content of `path` by `data`, all of it or nothing."""
    with replacing(path, durable=durable) as staged:
        staged.write_bytes(data)


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_tree(path: Path) -> None:
    """Delete a directory such that nobody ever sees half of it under its own name: rename first, then delete."""
    trash = path.with_name(f".trash-{path.name}-{os.getpid()}")
    try:
        path.rename(trash)
    except OSError:
        if os.path.lexists(path):
            raise
        return  # a read-only disk complains of that first
    shutil.rmtree(trash, ignore_errors=True)


def replace_tree(staged: Path, final: Path) -> None:
    """Give the directory `staged` the name `final`. Where there is one of that name, a crash half way through leaves
    it beside, and `sweep` puts it back: a directory cannot be renamed onto another."""
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
    """Remove what dead processes left behind: `.trash-*` trees and `.*.tmp` files. Only for the lock's holder.

    What one of them was about to replace, and has not, is put back.
    """
    for old in directory.glob(f"{_REPLACED}*"):
        final = old.with_name(old.name.removeprefix(_REPLACED))
        shutil.rmtree(old, ignore_errors=True) if final.exists() else old.rename(final)
    for left in directory.glob(".trash-*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in directory.glob(".*.tmp"):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
