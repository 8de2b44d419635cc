"""One phase of cleaning on one shard, which may run in a process of its own."""

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

from core.preprocess import line_windows
from core.preprocess.passages import PassageJoiner
from core.preprocess.phases import Phase
from core.preprocess.shard_index import Array, position, read_column, write_keys
from core.preprocess.shard_stats import ShardStatistics
from core.preprocess.steps import STEPS, Rewrite
from core.recipe.schema import Preprocess
from core.storage.documents import SCHEMA
from core.storage.files import fsync_file

GROUP = 4 * 2**20
"""Bytes of text held as Python strings at a time: one wide character makes a string four times as large."""


class ShardTask(Struct, frozen=True, kw_only=True):
    """Arguments of `clean_shard`."""

    shard: int
    phase: Phase
    recipe: Preprocess
    source: str
    continues: bool
    """Whether the next shard continues the last document."""
    removed: bytes
    """Bit mask of the documents to remove, by their number in the shard; 0 is one that began in an earlier shard."""
    before: str = ""
    """File of keys of the phase before; empty in the first phase."""
    repeated_windows: tuple[str, ...] = ()
    """Files of positions of repeated line windows."""
    text: str
    keys: str
    meter: str = ""
    """File with a float64 per shard: the bytes that are done."""


def clean_shard(task: ShardTask) -> None:
    """Clean a shard: write the files `task.text` and `task.keys`, and the progress to `task.meter`."""
    fd = os.open(task.meter, os.O_WRONLY)
    try:
        for done in iter_clean_shard(task):
            os.pwrite(fd, struct.pack("<d", done), 8 * task.shard)
    finally:
        os.close(fd)


def iter_clean_shard(task: ShardTask) -> Iterator[int]:
    """The same; yields the bytes of text that are done."""
    try:
        yield from _ShardCleaner(task).clean()
    except BaseException:
        for file in (task.text, task.keys):
            Path(file).unlink(missing_ok=True)
        raise


def row_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a shard in batches of at most `GROUP` bytes of text, or of one row if it is longer."""
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
    """Approximate bytes of text in a shard: the uncompressed size of its column."""
    with pq.ParquetFile(path) as file:
        groups = (file.metadata.row_group(group) for group in range(file.metadata.num_row_groups))
        return sum(group.column(2).total_uncompressed_size for group in groups)


class _ShardCleaner:
    def __init__(self, task: ShardTask) -> None:
        self.task = task
        self.steps = task.recipe.steps
        reshape_step = task.phase.reshape_step
        self.removes_lines = reshape_step is not None and self.steps[reshape_step] == "duplicate_lines"
        self.joins_passages = reshape_step is not None and not self.removes_lines
        first = [reshape_step] if reshape_step is not None and self.removes_lines else []
        self.step_indices = [*first, *task.phase.document_steps]
        """Steps that process single documents, as indices in the recipe."""
        self.statistics = ShardStatistics(task.phase, task.recipe, self.step_indices)
        self.documents = self.bytes = self.characters = 0
        """Counts of what was read."""

    def clean(self) -> Iterator[int]:
        with pq.ParquetFile(self.task.source) as file:
            part = file.read(columns=["part"]).column(0).to_numpy()
        self.documents = int((part == 0).sum())
        removed = np.unpackbits(np.frombuffer(self.task.removed, np.uint8)).astype(np.bool_)
        keep = ~removed[np.cumsum(part == 0)] if len(removed) else np.ones(len(part), np.bool_)
        if self.removes_lines:
            self._find_repeated_lines(keep)
        # a document is removed with all its parts, in all shards: the last one kept may be another
        continues = self.task.continues and bool(len(keep)) and bool(keep[-1])
        batches: Iterator[pa.RecordBatch] = self._read(keep)
        joined = PassageJoiner(part[keep], self.task.recipe.passage, continues)
        if self.joins_passages:
            batches = joined.join(batches)
        with pq.ParquetWriter(self.task.text, SCHEMA, compression="zstd", use_dictionary=["name"]) as writer:
            for batch, last in _with_last_flags(batches, continues):
                writer.write_batch(self._clean_rows(batch, last))
                yield self.bytes
        if self.joins_passages and self.task.phase.reshape_step is not None:
            self.statistics.counts[self.task.phase.reshape_step] = [joined.joined, 0, -joined.added]
        arrays, result = self.statistics.tables((self.documents, self.bytes, self.characters))
        write_keys(Path(self.task.keys), arrays, result)
        # here, in the worker process: where they are published it would block all others
        fsync_file(Path(self.task.text))
        fsync_file(Path(self.task.keys))

    def _find_repeated_lines(self, keep: NDArray[np.bool_]) -> None:
        """Find the repeated lines of each row that stays."""
        counts = read_column(Path(self.task.before), "row.lines").astype(np.int64)
        starts: list[Array] = [np.zeros(0, np.uint64)]
        for file in self.task.repeated_windows:
            positions = np.load(file, mmap_mode="r")
            first, end = np.searchsorted(positions, [position(self.task.shard, 0), position(self.task.shard + 1, 0)])
            starts.append(np.array(positions[first:end]))
        first_lines = (np.concatenate(starts) & np.uint64(0xFFFFFFFF)).astype(np.int64)
        inside = line_windows.lines_in_windows(first_lines, self.task.recipe.window, int(counts.sum()))
        selections = np.split(inside, np.cumsum(counts)[:-1]) if len(counts) else []
        self._verdicts = iter([piece for piece, kept in zip(selections, keep.tolist(), strict=True) if kept])

    def _read(self, keep: NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
        """Batches of the rows that stay."""
        row = 0
        for batch in row_batches(Path(self.task.source)):
            self.bytes += pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0
            self.characters += pc.sum(pc.utf8_length(batch.column("text"))).as_py() or 0
            mine = keep[row : row + len(batch)]
            row += len(batch)
            if mine.any():
                yield batch if mine.all() else batch.filter(pa.array(mine))

    def _rewriter(self, index: int) -> Rewrite | None:
        step = STEPS[self.steps[index]]
        if step.rewrite is not None or step.filter is not None:
            return step.rewrite
        return lambda text, _last_flags: line_windows.remove_lines(text, next(self._verdicts))

    def _clean_rows(self, batch: pa.RecordBatch, last: NDArray[np.bool_]) -> pa.RecordBatch:
        texts: list[str] = batch.column("text").to_pylist()
        size = pc.binary_length(batch.column("text")).to_numpy().astype(np.int32)
        count, steps = len(texts), len(self.step_indices)
        sizes, touched = np.zeros((steps + 1, count), np.int32), np.zeros((steps, count), np.bool_)
        measures = np.zeros((steps, 2, count), np.int32)
        rewritten = False
        for number, index in enumerate(self.step_indices):
            sizes[number] = size
            step, rewrite = STEPS[self.steps[index]], self._rewriter(index)
            if step.filter is not None:
                measures[number] = np.array(list(map(step.filter.measure, texts)), np.int32).T
            if rewrite is not None:
                cleaned = list(map(rewrite, texts, last.tolist()))
                changed = [at for at, (old, new) in enumerate(zip(texts, cleaned, strict=True)) if new != old]
                touched[number, [at for at in changed if step.counts(texts[at], cleaned[at])]] = True
                rewritten = rewritten or bool(changed)
                size[changed] = [len(cleaned[at].encode()) for at in changed]
                texts = cleaned
        sizes[steps] = size
        if rewritten:
            columns = {"name": batch.column("name"), "part": batch.column("part"), "text": pa.array(texts, pa.string())}
            batch = pa.RecordBatch.from_pydict(columns, schema=SCHEMA)
        characters = pc.utf8_length(batch.column("text")).to_numpy()
        self.statistics.add(texts, batch.column("part").to_numpy(), last, characters, (sizes, touched, measures))
        return batch


def _with_last_flags(
    batches: Iterable[pa.RecordBatch], continues: bool
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.bool_]]]:
    """Each batch with (rows,) whether a row is the last part of its document."""
    waiting: pa.RecordBatch | None = None
    for batch in batches:
        if waiting is not None:
            yield waiting, _last_flags(waiting, batch.column("part")[0].as_py() > 0)
        waiting = batch
    if waiting is not None:
        yield waiting, _last_flags(waiting, continues)


def _last_flags(batch: pa.RecordBatch, continues: bool) -> NDArray[np.bool_]:
    return np.append(batch.column("part").to_numpy()[1:] == 0, not continues)
