"""A file at an HTTP URL as a source."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from core.download.discover import SourceFile
from core.download.fetch import fetch
from core.download.file_source import FileSource
from core.download.source_reader import SourceBatch
from core.events import Event
from core.recipe.schema import Source
from core.sources.catalog import redact_url, resolve_corpus
from core.storage.artifact import Facts, Staging


class Url:
    """Downloads one file and reads it like a local one; the file is deleted when the stage is finished."""

    def __init__(self, recipe: Source, out: Staging) -> None:
        """Raises UnknownSourceError for a URL that must not be requested."""
        self._url = resolve_corpus(recipe.corpus)
        self._recipe = replace(recipe, corpus=redact_url(recipe.corpus))
        self._folder = out.path
        self.total: float | None = None
        self.facts: Facts = {}

    def read(self, position: Facts) -> Iterator[SourceBatch | Event]:
        """See `SourceReader.read`. Progress counts the bytes of the download first, then those of the file.

        Raises UnreachableError and what `FileSource.read` raises.
        """
        fetched = yield from fetch(self._url, self._folder)
        files = FileSource(self._recipe, [SourceFile(fetched.name, fetched.path, fetched.size, 0)])
        for item in files.read(position):
            self.total, self.facts = files.total, files.facts
            yield item
        self.facts = files.facts
