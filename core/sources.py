"""Which sources there are, and where one lies. Light: the command line and the forms ask before a run starts."""

from __future__ import annotations

import os
from pathlib import Path

from core.trouble import Usage, nearest

BUILT_IN = ("stdlib",)
"""Corpora that are on every machine."""


class UnknownSource(Usage):
    """The source is neither built in nor on the disk."""

    doing = "find the source"


def absolute(corpus: str, folder: Path | None = None) -> str:
    """`corpus` for processes that work in another directory; a relative path starts from `folder` or from here."""
    return corpus if corpus in BUILT_IN else os.path.abspath((folder or Path()) / Path(corpus).expanduser())  # noqa: PTH100 it also resolves ".."


def located(corpus: str) -> str:
    """`corpus` as a run needs it: a built-in name, or the absolute path of what is there.

    Raises UnknownSource with the nearest right name.
    """
    place = absolute(corpus)
    if place in BUILT_IN:
        return place
    try:
        Path(place).lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise _unknown(corpus, Path(place)) from None
    except OSError:  # it may be there: whoever reads it says what is wrong with it
        pass
    return place


def _unknown(corpus: str, path: Path) -> UnknownSource:
    try:
        beside = [entry.name for entry in os.scandir(path.parent) if not entry.name.startswith(".")]
    except (OSError, ValueError):
        beside = []
    hint = nearest(path.name, [*BUILT_IN, *beside])
    known = f"a source is {', '.join(map(repr, BUILT_IN))}, or the path of a text file or of a folder of them"
    return UnknownSource(
        f"{corpus!r} is not built in, and there is no such file or folder",
        where="source.corpus",
        todo=f"{hint}; {known}" if hint else known,
    )
