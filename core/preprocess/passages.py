"""Cleaning step that joins rows of single sentences to passages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from core.preprocess.shard_index import Array
from core.storage.documents import DocumentPart, batch_of

_GROUP = 4 * 2**20


class PassageJoiner:
    """Joins short documents in their order, one per line, until a passage has `length` characters.

    A passage has the name of its first document. Longer documents, and those that span several shards, stay
    unchanged. A passage ends at the end of its shard at the latest.
    """

    def __init__(self, part: Array, length: int, continues: bool) -> None:
        """part: (rows,) part numbers of all rows of the shard. continues: whether the next shard continues the last
        document."""
        self._length = length
        self._whole = (part == 0) & np.append(part[1:] == 0, not continues)[: len(part)]
        self.joined = 0
        """Documents that were joined with others."""
        self.added = 0
        """Bytes of newlines inserted between them."""
        self._waiting: list[DocumentPart] = []
        self._characters = 0

    def join(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Batches of a few MiB with the passages."""
        parts: list[DocumentPart] = []
        size = 0
        for part in self._parts(batches):
            parts.append(part)
            size += len(part.text)
            if size >= _GROUP:
                yield batch_of(parts)
                parts, size = [], 0
        if parts:
            yield batch_of(parts)

    def _parts(self, batches: Iterable[pa.RecordBatch]) -> Iterator[DocumentPart]:
        index = 0
        for batch in batches:
            for name, number, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if self._whole[index] and len(text) < self._length:
                    self._waiting.append(DocumentPart(name, 0, text))
                    self._characters += len(text)
                    if self._characters >= self._length:
                        yield self._passage()
                else:
                    if self._waiting:
                        yield self._passage()
                    yield DocumentPart(name, number, text)
                index += 1
        if self._waiting:
            yield self._passage()

    def _passage(self) -> DocumentPart:
        parts, self._waiting, self._characters = self._waiting, [], 0
        if len(parts) == 1:
            return parts[0]
        self.joined += len(parts)
        lines = [part.text if part.text.endswith("\n") else part.text + "\n" for part in parts[:-1]]
        self.added += sum(len(line) - len(part.text) for line, part in zip(lines, parts, strict=False))
        return DocumentPart(parts[0].name, 0, "".join([*lines, parts[-1].text]))
