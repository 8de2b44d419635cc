"""What the hub's API says about the files of a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any


def list_files(folder: Path) -> list[tuple[str, Path]]:
    """Path in the repository and on the disk of every file, sorted."""
    return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())


def tree_entries(files: list[tuple[str, Path]], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    """The entries of the endpoint `tree` for a folder."""
    entries: dict[str, dict[str, Any]] = {}
    prefix = f"{folder}/" if folder else ""
    for name, path in files:
        if not name.startswith(prefix):
            continue
        steps = name[len(prefix) :].split("/")
        for depth in range(1, len(steps) if recursive else min(2, len(steps))):
            above = prefix + "/".join(steps[:depth])
            entries[above] = {"type": "directory", "oid": _oid(above), "size": 0, "path": above}
        if recursive or len(steps) == 1:
            entries[name] = {"type": "file", "oid": _oid(name), "size": path.stat().st_size, "path": name}
    return [entries[name] for name in sorted(entries)]


def file_info(name: str, path: Path) -> dict[str, Any]:
    """Size of a file, and its digest if the real hub would store it with Git LFS."""
    size = path.stat().st_size
    if not name.endswith(".safetensors"):
        return {"size": size}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"size": size, "lfs": {"sha256": digest, "size": size, "pointerSize": 134}}


def _oid(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()


def etag_of(path: Path) -> str:
    """A hash that changes with the file."""
    return hashlib.sha1(f"{path}{path.stat().st_size}{path.stat().st_mtime_ns}".encode()).hexdigest()
