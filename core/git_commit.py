"""The commit of the code, read from the files of git without starting it."""

from __future__ import annotations

import re
from pathlib import Path

from core import ROOT

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def code_commit(root: Path = ROOT) -> str:
    """The commit checked out in `root`, in hexadecimal; empty if it is no checkout, or one in an unknown format.

    Changes that are not committed are not seen: finding them takes git seconds on a slow disk.
    """
    try:
        return _commit(root / ".git")
    except (OSError, ValueError):  # ValueError: a file is not UTF-8
        return ""


def _commit(git: Path) -> str:
    if git.is_file():  # a worktree of another checkout
        git = git.parent / git.read_text("utf-8").removeprefix("gitdir:").strip()
    head = (git / "HEAD").read_text("utf-8").strip()
    if not head.startswith("ref:"):
        return head if _HASH.fullmatch(head) else ""
    name, common = head.removeprefix("ref:").strip(), git / "commondir"
    folders = [git, git / common.read_text("utf-8").strip()] if common.is_file() else [git]
    for folder in folders:
        if (folder / name).is_file():
            found = (folder / name).read_text("utf-8").strip()
            return found if _HASH.fullmatch(found) else ""
    for line in (folders[-1] / "packed-refs").read_text("utf-8").splitlines():
        found, _, ref = line.partition(" ")
        if ref == name and _HASH.fullmatch(found):
            return found
    return ""
