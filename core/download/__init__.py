"""A source becomes documents: the first stage."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import asdict

from core.artifact import Artifact, Staging, fingerprint
from core.download.documents import SHARD_BYTES, Part, write_parts
from core.download.listing import Found, NoText, Unreadable, list_source, reason
from core.download.progress import Meter, published_shards, shard_name
from core.download.reading import looks_binary, read_pieces
from core.events import Event, Note
from core.recipe import Source
from core.sources import BUILT_IN

__all__ = ["FORMAT", "NoText", "Unreadable", "download", "identify"]

FORMAT = 1
"""Changes when the same source would give other documents."""


class _Position(Struct, kw_only=True):
    """Where the next part comes from, and what was read before it."""

    file: int = 0
    """Index in the listing."""
    offset: int = 0
    """In that file, bytes."""
    part: int = 0
    documents: int = 0
    bytes: int = 0
    replaced: int = 0
    broken: int = 0
    """Files that could be opened at first but not read."""


def identify(recipe: Source) -> str:
    """A fingerprint of the source by names, sizes and times of its files, without reading them.

    Raises UnknownSource, Unreadable, NoText.
    """
    files = [(file.name, file.size, file.mtime_ns) for file in list_source(recipe.corpus)]
    built_in = recipe.corpus in BUILT_IN
    place = platform.python_version() if built_in else str(Path(recipe.corpus).expanduser().resolve())
    return fingerprint(place, files)


def download(recipe: Source, out: Staging) -> Generator[Event, None, Artifact]:
    """Copy the text of a source into `documents-*.parquet`, one document a file.

    Yields Progress in bytes, and Notes about files left out and bytes that were not UTF-8. After a break it goes
    on behind the last complete shard. Facts: documents, bytes (UTF-8), skipped (files). Raises UnknownSource,
    Unreadable, NoText.
    """
    found = yield from _without_binaries(list_source(recipe.corpus))
    _check(recipe.corpus, found)
    yield from _about_refused(found)

    shards, facts = published_shards(out, "documents", "parquet")
    position = _Position(**facts) if facts else _Position()  # type: ignore[arg-type]
    meter = Meter(sum(file.size for file in found if not file.refused))
    meter.done = sum(file.size for file in found[: position.file] if not file.refused) + position.offset
    parts: list[Part] = []
    held = 0
    for part in _parts(found, position):
        if isinstance(part, Note):
            yield part
            continue
        size = len(part.text.encode())
        position.bytes += size
        parts.append(part)
        held += size
        if held >= SHARD_BYTES:
            out.publish(shard_name("documents", shards, "parquet"), partial(write_parts, parts=parts), asdict(position))
            shards, parts, held = shards + 1, [], 0
        yield from meter.advance(size)
    if parts:
        out.publish(shard_name("documents", shards, "parquet"), partial(write_parts, parts=parts), asdict(position))
    yield meter.now()
    if position.replaced:
        yield Note(level="warning", text=f"{position.replaced:,} places were not UTF-8 and were replaced by \ufffd")
    skipped = sum(1 for file in found if file.refused) + position.broken
    return out.finish({"documents": position.documents, "bytes": position.bytes, "skipped": skipped})


def _parts(found: list[Found], position: _Position) -> Iterator[Part | Note]:
    """Every part from `position` on, which stands behind each as it comes; a Note where a file broke off."""
    for index in range(position.file, len(found)):
        file = found[index]
        try:
            for piece in () if file.refused else read_pieces(file.path, file.size, position.offset):
                part = Part(file.name, position.part, piece.text)
                position.documents += part.number == 0
                position.replaced += piece.replaced
                position.offset, position.part = piece.end, position.part + 1
                if piece.last:
                    position.file, position.offset, position.part = index + 1, 0, 0
                yield part
        except Unreadable as trouble:
            position.broken += 1
            yield Note(level="warning", text=f"{file.name} could not be read to its end: {trouble.what}")
        position.file, position.offset, position.part = index + 1, 0, 0


def _without_binaries(found: list[Found]) -> Generator[Event, None, list[Found]]:
    """The same listing, with a reason at every file that cannot be opened or is no text."""
    meter = Meter(None, "documents")
    looked: list[Found] = []
    for file in found:
        refused = file.refused
        if not refused:
            try:
                refused = "binary" if looks_binary(file.path) else ""
            except OSError as error:
                refused = reason(error)
        looked.append(file._replace(refused=refused))
        yield from meter.advance(1)
    return looked


def _check(corpus: str, found: list[Found]) -> None:
    """Raise Unreadable or NoText when there is nothing to go on with."""
    good = [file for file in found if not file.refused]
    todo = "name a text file or a folder with text files in it"
    if not good and len(found) == 1 and found[0].refused != "binary":
        raise Unreadable(found[0].refused, where=str(found[0].path))
    if not good:
        first = found[0]
        many = f"none of the {len(found):,} files in it is readable text (the first, {first.name}: {first.refused})"
        raise NoText("it is binary, not text" if len(found) == 1 else many, where=corpus, todo=todo)
    if not any(file.size for file in good):
        raise NoText("there is no text in it, only empty files", where=corpus, todo=todo)


def _about_refused(found: list[Found]) -> Iterator[Note]:
    """One Note for each reason why files are left out, naming the first of them."""
    names = defaultdict(list)
    for file in found:
        if file.refused:
            names[file.refused].append(file.name)
    for refused, left_out in names.items():
        more = f" and {len(left_out) - 5:,} more" if len(left_out) > 5 else ""
        count = "1 file" if len(left_out) == 1 else f"{len(left_out):,} files"
        yield Note(level="warning", text=f"left out {count}, {refused}: {', '.join(left_out[:5])}{more}")
