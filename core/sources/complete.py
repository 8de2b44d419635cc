"""Completion of a source's name: built-in and well-known corpora, those prepared on this machine, and paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from core.parsing import ParseError, read_json
from core.sources.catalog import BUILT_IN
from core.sources.corpora import CORPORA, PREFIX
from core.storage.artifact import MANIFEST, Manifest
from core.storage.workspace import Workspace

MOST_ENTRIES = 2_000
"""Entries of a folder that are read."""

_ABOUT = {
    "stdlib": "the standard library of this Python",
    "stories": "stories generated from a seed",
}


class Completion(NamedTuple):
    """A source that the typed text may mean."""

    value: str
    about: str
    """One clause; empty for a path."""
    bytes: int | None = None
    """Size of its text, where known."""


def complete_source(text: str, workspace: Workspace) -> list[Completion]:
    """Sources whose name contains `text`, and the paths that begin with it. Reads folders, never the network."""
    typed = text.strip().lower()
    prepared = list(prepared_corpora(workspace))
    built_in = [Completion(name, _ABOUT[name]) for name in BUILT_IN]
    known = [Completion(f"{PREFIX}{corpus.name}", corpus.about, corpus.bytes) for corpus in CORPORA.values()]
    others = {each.value: each for each in [*built_in, *known]}
    found = {each.value: each for each in prepared} | others
    for each in prepared:  # of a well-known corpus it may be a part
        about = f"{each.about}; {others[each.value].about}" if each.value in others else each.about
        found[each.value] = each._replace(about=about)
    found = {value: each for value, each in found.items() if typed in value.lower()}
    paths = [Completion(path, "") for path in complete_path(text)]
    return [*found.values(), *(each for each in paths if each.value not in found)]


def prepared_corpora(workspace: Workspace) -> Iterator[Completion]:
    """The sources of the documents that have been downloaded to this machine, newest first."""
    found: dict[str, tuple[float, int]] = {}
    for manifest in (workspace.artifacts / "documents").glob(f"[!.]*/{MANIFEST}"):
        try:
            read = read_json(manifest, Manifest)
        except (OSError, ParseError):
            continue
        corpus, size = read.recipe.get("corpus"), read.facts.get("bytes", 0)
        if isinstance(corpus, str) and corpus.isprintable() and isinstance(size, int):
            found[corpus] = max((read.made_at, size), found.get(corpus, (0.0, 0)))
    for corpus, (_, size) in sorted(found.items(), key=lambda item: -item[1][0]):
        yield Completion(corpus, "prepared on this machine", size)


def complete_path(text: str) -> list[str]:
    """Paths that begin with `text`, folders first and with a slash; hidden ones only where a dot is typed.

    Names with control characters are left out: they can be neither shown nor typed.
    """
    folder, slash, start = text.strip().rpartition("/")
    directory = Path(os.path.expanduser(f"{folder}{slash}") or ".")  # noqa: PTH111 pathlib's raises for unknown users
    found: list[tuple[bool, str]] = []
    try:
        with os.scandir(directory) as entries:
            for number, entry in enumerate(entries):
                if number >= MOST_ENTRIES:
                    break
                name = entry.name
                hidden = name.startswith(".") and not start.startswith(".")
                if name.lower().startswith(start.lower()) and not hidden and name.isprintable():
                    folder_entry = entry.is_dir()
                    found.append((not folder_entry, f"{folder}{slash}{name}" + ("/" if folder_entry else "")))
    except (OSError, ValueError):
        return []
    return [path for _, path in sorted(found)]
