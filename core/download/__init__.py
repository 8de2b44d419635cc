"""The download stage: reads a source into Parquet shards of documents."""

from __future__ import annotations

import platform
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import assert_never

import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from core.download import stories
from core.download.discover import NoTextError, UnreadableError, list_files
from core.download.file_source import FileSource, TooManyInvalidRecordsError, TruncatedFileError
from core.download.hub import Hub, hub_fingerprint
from core.download.source_reader import SourceBatch, SourceReader
from core.download.subset import SubsetError, SubsetSelector
from core.download.text_column import TextColumnError
from core.events import Event
from core.processes.progress import ProgressMeter
from core.recipe.schema import Source
from core.sources.catalog import kind_of, resolve_corpus
from core.storage.artifact import Artifact, Facts, Staging, fingerprint
from core.storage.documents import SHARD_BYTES, write_batches
from core.storage.shard_names import published_shards, shard_name

__all__ = [
    "FORMAT",
    "NoTextError",
    "SubsetError",
    "TextColumnError",
    "TooManyInvalidRecordsError",
    "TruncatedFileError",
    "UnreadableError",
    "download",
    "source_fingerprint",
]

FORMAT = 3
"""Format version: changes when the same source gives other documents."""

_KEPT = "kept_"


def source_fingerprint(recipe: Source) -> str:
    """A fingerprint of the source: names, sizes and modification times of its files, or its address.

    Raises UnknownSourceError, UnreadableError, NoTextError.
    """
    if recipe.corpus == "stories":
        return stories.grammar_fingerprint()
    match kind_of(recipe.corpus):
        case "hub":
            return hub_fingerprint(recipe)
        case "url":
            return fingerprint("url", resolve_corpus(recipe.corpus))
        case "built in":
            return fingerprint(platform.python_version(), _files_and_times(recipe.corpus))
        case "path":
            files = _files_and_times(recipe.corpus)  # first: it names the paths that cannot be resolved
            return fingerprint(str(Path(recipe.corpus).expanduser().resolve()), files)
        case kind:
            assert_never(kind)


def _files_and_times(corpus: str) -> list[tuple[str, int, int]]:
    return [(file.name, file.size, file.mtime_ns) for file in list_files(corpus)]


def open_source(recipe: Source, out: Staging) -> SourceReader:
    """The reader of the source that `recipe` names. out: where it may store what it needs to resume."""
    if recipe.corpus == "stories":
        return stories.Stories(recipe)
    match kind_of(recipe.corpus):
        case "hub":
            return Hub(recipe)
        case "url":
            from core.download.url import Url  # it imports TLS, which takes time that no other source needs

            return Url(recipe, out)
        case "built in" | "path":
            return FileSource(recipe)
        case kind:
            assert_never(kind)


def download(recipe: Source, out: Staging) -> Generator[Event, None, Artifact]:
    """Copy the text of a source into `documents-*.parquet`.

    Yields Progress in bytes, and Notes about what was skipped or repaired. Resumes after the last complete
    shard. Facts: documents, bytes (UTF-8), and those that the source adds. Raises UnknownSourceError,
    UnreadableError, NoTextError, TextColumnError, TooManyInvalidRecordsError, TruncatedFileError, SubsetError,
    UnreachableError.
    """
    shards, last_facts = published_shards(out, "documents", "parquet")
    position: Facts = {"documents": 0, "bytes": 0} | (last_facts or {})
    documents, size = int(position.pop("documents")), int(position.pop("bytes"))
    # the stories apply the limits themselves: the probability of a truncated story is not known
    endless = recipe.corpus == "stories"
    limits = SubsetSelector(replace(recipe, max_bytes=None, max_documents=None) if endless else recipe, position)
    meter = ProgressMeter(None)
    held: list[pa.RecordBatch] = []
    waiting = 0
    facts: Facts = {}

    def publish() -> None:
        nonlocal shards, held, waiting
        about = {**position, **limits.facts(), "documents": documents, "bytes": size}
        if limits.full:  # the source will not be read again
            about |= {f"{_KEPT}{name}": value for name, value in facts.items()}
        out.publish(shard_name("documents", shards, "parquet"), partial(write_batches, batches=held), about)
        shards, held, waiting = shards + 1, [], 0

    if limits.full:
        facts = {name.removeprefix(_KEPT): value for name, value in position.items() if name.startswith(_KEPT)}
    else:
        reader = open_source(recipe, out)
        for item in reader.read(position):
            if not isinstance(item, SourceBatch):
                yield item
                continue
            position = item.position
            batch = limits.take(item.batch, documents, size, item.done, reader.total)
            documents += pc.sum(pc.equal(batch["part"], 0)).as_py() or 0
            taken = pc.sum(pc.binary_length(batch["text"])).as_py() or 0
            size += taken
            if batch.num_rows:
                held.append(batch)
            waiting += taken
            facts = reader.facts
            if waiting >= SHARD_BYTES:
                publish()
            meter.total = reader.total
            for now in meter.advance_to(item.done):
                yield limits.progress(now, documents, size)
            if limits.full:
                break
        facts = reader.facts
        if held:
            publish()
    yield limits.progress(meter.report(), documents, size)
    if not documents:
        raise limits.nothing(recipe.corpus)
    return out.finish({"documents": documents, "bytes": size, **facts})
