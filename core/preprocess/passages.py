"""Rows of single sentences joined to passages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from core.preprocess.shard_index import Array
from core.storage.documents import DocumentPart, batch_of

_GROUP = 4 * 2**20


class Joined:
    """Documents shorter than a passage, joined in their order until a passage is long enough, a line each.

    A passage has the name of its first document. Documents that are long enough, and those that other shards hold a
    piece of, stay as they are. No passage goes over the end of a shard.
    """

    def __init__(self, part: Array, length: int, continues: bool) -> None:
        """part: of every row that will come. continues: whether the next shard goes on with the last document."""
        self._length = length
        self._whole = (part == 0) & np.append(part[1:] == 0, not continues)[: len(part)]
        self.joined = 0
        """Documents that are together with others now."""
        self.added = 0
        """Bytes of newlines between them."""
        self._waiting: list[DocumentPart] = []
        self._held = 0

    def join(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same text in fewer rows, a few MiB at a time."""
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
                    self._held += len(text)
                    if self._held >= self._length:
                        yield self._passage()
                else:
                    if self._waiting:
                        yield self._passage()
                    yield DocumentPart(name, number, text)
                index += 1
        if self._waiting:
            yield self._passage()

    def _passage(self) -> DocumentPart:
        parts, self._waiting, self._held = self._waiting, [], 0
        if len(parts) == 1:
            return parts[0]
        self.joined += len(parts)
        lines = [part.text if part.text.endswith("\n") else part.text + "\n" for part in parts[:-1]]
        self.added += sum(len(line) - len(part.text) for line, part in zip(lines, parts, strict=False))
        return DocumentPart(parts[0].name, 0, "".join([*lines, parts[-1].text]))
