"""One phase's work on one shard, done in a process of its own: nothing here knows of other shards."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import Struct
from numpy.typing import NDArray

from core.preprocess import lines
from core.preprocess.passages import Joined
from core.preprocess.phases import Phase
from core.preprocess.shard_index import Array, column, place, write_keys
from core.preprocess.shard_stats import Findings
from core.preprocess.steps import STEPS, Rewrite
from core.recipe.schema import Preprocess
from core.storage.documents import SCHEMA
from core.storage.files import fsync_file

GROUP = 4 * 2**20
"""Bytes of text that are Python's strings at a time: one wide character makes a whole document four times as large."""


class Task(Struct, frozen=True, kw_only=True):
    """What a process has to know to clean one shard."""

    shard: int
    phase: Phase
    recipe: Preprocess
    source: str
    continues: bool
    """Whether the next shard goes on with the last document."""
    gone: bytes
    """A bit for each document, by its number in the shard, that goes; 0 is one that began before."""
    before: str = ""
    """File of keys of the phase before, where the opener needs it."""
    condemned: tuple[str, ...] = ()
    """Files of places of windows of lines that stood before."""
    text: str
    keys: str
    meter: str = ""
    """File in which a number for each shard says how many bytes are done."""


def work(task: Task) -> None:
    """Clean a shard: writes the files `task.text` and `task.keys`."""
    fd = os.open(task.meter, os.O_WRONLY)
    try:
        for done in cleaning(task):
            os.pwrite(fd, struct.pack("<d", done), 8 * task.shard)
    finally:
        os.close(fd)


def cleaning(task: Task) -> Iterator[int]:
    """As `work`, yielding how many bytes of text are done."""
    try:
        yield from _Shard(task).clean()
    except BaseException:
        for file in (task.text, task.keys):
            Path(file).unlink(missing_ok=True)
        raise


def groups(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a shard, at most `GROUP` bytes of text at a time, or one row where that is more."""
    size = text_bytes(path)
    with pq.ParquetFile(path) as file:
        rows = max(1, file.metadata.num_rows)
        for batch in file.iter_batches(max(1, rows * GROUP // max(1, size)), columns=SCHEMA.names, use_threads=False):
            ends = np.cumsum(pc.binary_length(batch.column("text")).to_numpy().astype(np.int64))
            start = 0
            while start < len(ends):
                limit = (int(ends[start - 1]) if start else 0) + GROUP
                end = max(start + 1, int(np.searchsorted(ends, limit, "right")))
                yield batch.slice(start, end - start)
                start = end


def text_bytes(path: Path) -> int:
    """About how much text a shard holds: what its column takes before compression."""
    with pq.ParquetFile(path) as file:
        groups = (file.metadata.row_group(group) for group in range(file.metadata.num_row_groups))
        return sum(group.column(2).total_uncompressed_size for group in groups)


class _Shard:
    def __init__(self, task: Task) -> None:
        self.task = task
        self.steps = task.recipe.steps
        opener = task.phase.opener
        self.edits = opener is not None and self.steps[opener] == "duplicate_lines"
        self.joins = opener is not None and not self.edits
        self.slots = [*([opener] if opener is not None and self.edits else []), *task.phase.local]
        """The steps that change or judge single documents, in their order."""
        self.findings = Findings(task.phase, task.recipe, self.slots)
        self.documents = self.bytes = self.characters = 0
        """That were read."""

    def clean(self) -> Iterator[int]:
        with pq.ParquetFile(self.task.source) as file:
            part = file.read(columns=["part"]).column(0).to_numpy()
        self.documents = int((part == 0).sum())
        gone = np.unpackbits(np.frombuffer(self.task.gone, np.uint8)).astype(np.bool_)
        keep = ~gone[np.cumsum(part == 0)] if len(gone) else np.ones(len(part), np.bool_)
        if self.edits:
            self._find_condemned(keep)
        # a document goes with all its parts, in all shards: what is left of the last one may be another
        continues = self.task.continues and bool(len(keep)) and bool(keep[-1])
        batches: Iterator[pa.RecordBatch] = self._source(keep)
        joined = Joined(part[keep], self.task.recipe.passage, continues)
        if self.joins:
            batches = joined.join(batches)
        with pq.ParquetWriter(self.task.text, SCHEMA, compression="zstd", use_dictionary=["name"]) as writer:
            for batch, last in _with_last(batches, continues):
                writer.write_batch(self._clean_rows(batch, last))
                yield self.bytes
        if self.joins and self.task.phase.opener is not None:
            self.findings.counts[self.task.phase.opener] = [joined.joined, 0, -joined.added]
        arrays, result = self.findings.tables((self.documents, self.bytes, self.characters))
        write_keys(Path(self.task.keys), arrays, result)
        # here rather than where they are published, which would hold up everything
        fsync_file(Path(self.task.text))
        fsync_file(Path(self.task.keys))

    def _find_condemned(self, keep: NDArray[np.bool_]) -> None:
        """Which lines of each row that stays stood before."""
        counts = column(Path(self.task.before), "row.lines").astype(np.int64)
        starts: list[Array] = [np.zeros(0, np.uint64)]
        for file in self.task.condemned:
            places = np.load(file, mmap_mode="r")
            first, end = np.searchsorted(places, [place(self.task.shard, 0), place(self.task.shard + 1, 0)])
            starts.append(np.array(places[first:end]))
        begins = (np.concatenate(starts) & np.uint64(0xFFFFFFFF)).astype(np.int64)
        inside = lines.covered(begins, self.task.recipe.window, int(counts.sum()))
        pieces = np.split(inside, np.cumsum(counts)[:-1]) if len(counts) else []
        self._verdicts = iter([piece for piece, kept in zip(pieces, keep.tolist(), strict=True) if kept])

    def _source(self, keep: NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
        """The rows that stay."""
        row = 0
        for batch in groups(Path(self.task.source)):
            self.bytes += pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0
            self.characters += pc.sum(pc.utf8_length(batch.column("text"))).as_py() or 0
            mine = keep[row : row + len(batch)]
            row += len(batch)
            if mine.any():
                yield batch if mine.all() else batch.filter(pa.array(mine))

    def _rewriter(self, index: int) -> Rewrite | None:
        step = STEPS[self.steps[index]]
        if step.rewrite is not None or step.judge is not None:
            return step.rewrite
        return lambda text, _last: lines.without(text, next(self._verdicts))

    def _clean_rows(self, batch: pa.RecordBatch, last: NDArray[np.bool_]) -> pa.RecordBatch:
        texts: list[str] = batch.column("text").to_pylist()
        size = pc.binary_length(batch.column("text")).to_numpy().astype(np.int32)
        count, slots = len(texts), len(self.slots)
        sizes, touched = np.zeros((slots + 1, count), np.int32), np.zeros((slots, count), np.bool_)
        measures = np.zeros((slots, 2, count), np.int32)
        rewritten = False
        for slot, index in enumerate(self.slots):
            sizes[slot] = size
            step, rewrite = STEPS[self.steps[index]], self._rewriter(index)
            if step.judge is not None:
                measures[slot] = np.array(list(map(step.judge.measure, texts)), np.int32).T
            if rewrite is not None:
                cleaned = list(map(rewrite, texts, last.tolist()))
                changed = [at for at, (old, new) in enumerate(zip(texts, cleaned, strict=True)) if new != old]
                touched[slot, [at for at in changed if step.counts(texts[at], cleaned[at])]] = True
                rewritten = rewritten or bool(changed)
                size[changed] = [len(cleaned[at].encode()) for at in changed]
                texts = cleaned
        sizes[slots] = size
        if rewritten:
            columns = {"name": batch.column("name"), "part": batch.column("part"), "text": pa.array(texts, pa.string())}
            batch = pa.RecordBatch.from_pydict(columns, schema=SCHEMA)
        characters = pc.utf8_length(batch.column("text")).to_numpy()
        self.findings.add(texts, batch.column("part").to_numpy(), last, characters, (sizes, touched, measures))
        return batch


def _with_last(
    batches: Iterable[pa.RecordBatch], continues: bool
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.bool_]]]:
    """Each batch with (rows,) whether a document ends with the row."""
    waiting: pa.RecordBatch | None = None
    for batch in batches:
        if waiting is not None:
            yield waiting, _last(waiting, batch.column("part")[0].as_py() > 0)
        waiting = batch
    if waiting is not None:
        yield waiting, _last(waiting, continues)


def _last(batch: pa.RecordBatch, continues: bool) -> NDArray[np.bool_]:
    return np.append(batch.column("part").to_numpy()[1:] == 0, not continues)
