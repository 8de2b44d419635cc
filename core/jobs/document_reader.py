"""Random access to the documents of an artifact."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.jobs.browse_protocol import Side
from core.preprocess.shard import row_batches
from core.storage.artifact import Artifact
from core.storage.documents import DocumentPart


class _Row(NamedTuple):
    shard: int
    row: int


class DocumentReader:
    """The documents of one side of an artifact, in order. Holds one shard's part numbers and 4 MiB of its text.

    Reading on is as fast as Parquet; reading an earlier row begins again at the start of its shard of 32 MiB.
    """

    def __init__(self, artifact: Artifact, side: Side) -> None:
        self._files = artifact.files(f"{side}-*.parquet")
        counts = [int(artifact.manifest.files[path.name].facts["documents"]) for path in self._files]
        # the download stage writes into each shard how many documents there are up to its end
        ends = counts if side == "documents" else list(accumulate(counts))
        self._starts = [0, *ends[:-1]] if ends else []
        self.documents = ends[-1] if ends else 0
        self._shard = -1
        self._parts = np.zeros(0, np.int32)
        """Of the open shard: part number of each row;"""
        self._numbers = np.zeros(0, np.int64)
        """and the number of its document in the corpus."""
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.RecordBatch | None = None
        self._first = 0
        """Row of the shard with which `_batch` begins."""

    def read(self, number: int, part: int = 0) -> DocumentPart:
        """A part of a document. Raises IndexError if there is none."""
        if not 0 <= number < self.documents or part < 0:
            raise IndexError(number)
        return self._read(self._locate(number, part))

    def walk(self, number: int, part: int = 0, *, backwards: bool = False) -> Iterator[tuple[int, DocumentPart]]:
        """All parts once, with the numbers of their documents, from this one to the one before it (or after it, if
        backwards): after the end comes the beginning."""
        start = at = self._locate(number, part)
        while True:
            found = self._read(at)
            yield int(self._numbers[at.row]), found
            at = self._before(at) if backwards else self._after(at)
            if at == start:
                return

    def names(self, first: int, count: int) -> list[str]:
        """Names of up to `count` documents from `first` on."""
        names: list[str] = []
        while len(names) < count and first + len(names) < self.documents:
            at = self._locate(first + len(names))
            with pq.ParquetFile(self._files[at.shard]) as file:
                column = file.read(columns=["name"]).column(0)
            rows = np.flatnonzero(self._parts[at.row :] == 0)[: count - len(names)] + at.row
            names += column.take(pa.array(rows)).to_pylist()
        return names

    def _open(self, shard: int) -> None:
        """Read the part numbers of a shard."""
        if shard == self._shard:
            return
        with pq.ParquetFile(self._files[shard]) as file:
            self._parts = file.read(columns=["part"]).column(0).to_numpy()
        self._numbers = self._starts[shard] + np.cumsum(self._parts == 0) - 1
        self._shard, self._batch, self._batches = shard, None, iter(())

    def _locate(self, number: int, part: int = 0) -> _Row:
        shard = bisect_right(self._starts, number) - 1
        self._open(shard)
        row = int(np.searchsorted(self._numbers, number)) + part
        while row >= len(self._parts):  # its parts continue in the next shard
            row -= len(self._parts)
            shard += 1
            if shard == len(self._files):
                raise IndexError(number)
            self._open(shard)
        if self._numbers[row] != number:
            raise IndexError(number)
        return _Row(shard, row)

    def _read(self, at: _Row) -> DocumentPart:
        self._open(at.shard)
        if self._batch is None or at.row < self._first:
            self._batches, self._first = row_batches(self._files[at.shard]), 0
            self._batch = next(self._batches)
        while at.row >= self._first + len(self._batch):
            self._first += len(self._batch)
            self._batch = next(self._batches)
        row = at.row - self._first
        name, text = (self._batch.column(column)[row].as_py() for column in ("name", "text"))
        part = int(self._parts[at.row])
        return DocumentPart(name, part, text, self._part_after(at) == 0)

    def _part_after(self, at: _Row) -> int:
        """Part number of the row after `at`; 0 at the end."""
        if at.row + 1 < len(self._parts):
            return int(self._parts[at.row + 1])
        if at.shard + 1 == len(self._files):
            return 0
        with pq.ParquetFile(self._files[at.shard + 1]) as file:
            first = next(file.iter_batches(1, columns=["part"]))
        return int(first.column(0)[0].as_py())

    def _after(self, at: _Row) -> _Row:
        self._open(at.shard)
        if at.row + 1 < len(self._parts):
            return _Row(at.shard, at.row + 1)
        return _Row((at.shard + 1) % len(self._files), 0)

    def _before(self, at: _Row) -> _Row:
        if at.row:
            return _Row(at.shard, at.row - 1)
        shard = (at.shard - 1) % len(self._files)
        self._open(shard)
        return _Row(shard, len(self._parts) - 1)
