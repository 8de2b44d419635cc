"""Writes the clean documents to the training and validation shards: planning of rows, and writing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct
from numpy.typing import NDArray

from core.preprocess.line_statistics import LineSample, sample_lines
from core.preprocess.phase_result import PhaseResult
from core.preprocess.shard import row_batches
from core.preprocess.shard_index import Array, read_column
from core.preprocess.split import Side, Split, cut_at_line
from core.storage.documents import SCHEMA, write_batches
from core.storage.files import fsync_file

READ, WRITTEN = 0.2, 0.7
"""Shares of the time for an output after which its rows are read, and written."""


class RowSelection(Struct, kw_only=True):
    """Rows of one shard of the last phase that go into one output shard."""

    source: str
    rows: bytes
    """Bit mask over the rows of the source."""
    stop: int | None = None
    """End of the last row's text in characters, if it is cut."""
    skip: int = 0
    """Characters of the first row's text that are skipped."""
    renumbered: int = 0
    """Number of first rows whose document begins in the other split;"""
    shift: int = 0
    """their part numbers are reduced by this."""


class OutputShard(Struct, kw_only=True):
    """One shard of training or validation text."""

    side: Side
    index: int
    documents: int = 0
    """Documents that begin in it."""
    bytes: int = 0
    selections: list[RowSelection] = []
    path: str = ""
    written: bool = False
    """Whether it exists already, and only its lines are sampled."""
    seed: int = 1
    budget: int = 0
    """Bytes of it that are sampled for frequent lines."""
    rarity: int = 0
    """One of 2^rarity lines is compared between the splits."""
    meter: str = ""
    """File with a float64 per output: its bytes that are done."""
    number: int = 0
    """Index of this output in it."""

    def write_progress(self, share: float) -> None:
        """Write the share that is done to `meter`."""
        with Path(self.meter).open("r+b", buffering=0) as file:
            file.seek(8 * self.number)
            file.write(struct.pack("<d", share * self.bytes))


def plan_outputs(found: PhaseResult, split: Split, shard_bytes: int) -> Iterator[OutputShard]:
    """Yields the shards of both splits as soon as they are full: `shard_bytes` of text and at most one more row."""
    planner = _OutputPlanner(found, split, shard_bytes)
    for shard in range(len(found.keys)):
        yield from planner.add_shard(shard)
    yield from planner.unfinished()


class _OutputPlanner:
    def __init__(self, found: PhaseResult, split: Split, shard_bytes: int) -> None:
        self._found, self._split, self._limit = found, split, shard_bytes
        self._open: dict[Side, OutputShard] = {
            side: OutputShard(side=side, index=0, selections=[]) for side in ("train", "validation")
        }
        self._passed = 0
        """Bytes before the current shard, if the tail is held out."""
        self._shift: int | None = None
        """Parts of the current document that are training text."""
        key, _, at = found.spanning_split_keys()
        held = split.holds_out(key) if split.by_document else np.zeros(len(key), np.bool_)
        shards = (at >> np.uint64(32)).astype(np.int64)
        numbers = found.base[shards] + (at & np.uint64(0xFFFFFFFF)).astype(np.int64) - 1
        self._spanning = dict(zip(numbers.tolist(), held.tolist(), strict=True))

    def add_shard(self, shard: int) -> Iterator[OutputShard]:
        """Assign the rows of one shard; yields the outputs that are full."""
        part, size = (read_column(self._found.keys[shard], f"row.{name}") for name in ("part", "size"))
        size = size.astype(np.int64)
        number = np.cumsum(part == 0)
        stays = self._found.removed_in_shard(shard)[number] == 0
        if self._split.by_document:
            held = self._held(shard)[number]
            yield from self._add("train", shard, part, size, stays & ~held)
            yield from self._add("validation", shard, part, size, stays & held)
            return
        end = self._passed + np.cumsum(np.where(stays, size, 0))
        head, tail = stays & (end <= self._split.tail), stays & (end > self._split.tail)
        cut = int(np.flatnonzero(tail)[0]) if tail.any() and self._passed <= self._split.tail else None
        self._passed = int(end[-1]) if len(end) else self._passed
        if cut is None:
            yield from self._add("train", shard, part, size, head)
            yield from self._add("validation", shard, part, size, tail)
        else:
            yield from self._add_split_shard(shard, part, size, head, tail, cut, int(end[cut]))

    def _held(self, shard: int) -> NDArray[np.bool_]:
        """(documents + 1,) which documents of a shard are held out, by their numbers in it."""
        path = self._found.keys[shard]
        count = self._found.results[shard].documents
        held = np.zeros(count + 1, np.bool_)
        held[read_column(path, "split.document")[self._split.holds_out(read_column(path, "split.key"))]] = True
        for number in (0, count):
            held[number] |= self._spanning.get(int(self._found.base[shard]) + number - 1, False)
        return held

    def _add_split_shard(
        self, shard: int, part: Array, size: Array, head: Array, tail: Array, cut: int, end: int
    ) -> Iterator[OutputShard]:
        """Assign the rows of the shard in which the tail begins, in the middle of a row."""
        with pq.ParquetFile(self._found.texts[shard]) as file:
            text = file.read(columns=["text"]).column(0)[cut].as_py()
        at = cut_at_line(text, self._split.tail - (end - int(size[cut])), self._split.slack)
        begun = len(text[:at].encode())
        head, sizes = head.copy(), size.copy()
        head[cut], sizes[cut] = at > 0, begun
        yield from self._add("train", shard, part, sizes, head, stop=at if at else None)
        sizes[cut] = size[cut] - begun
        self._shift = int(part[cut])
        numbers = part.copy()
        numbers[cut] = 0
        yield from self._add("validation", shard, numbers, sizes, tail, skip=at, first=cut)

    def _add(
        self,
        side: Side,
        shard: int,
        part: Array,
        size: Array,
        chosen: NDArray[np.bool_],
        *,
        stop: int | None = None,
        skip: int = 0,
        first: int | None = None,
    ) -> Iterator[OutputShard]:
        rows = np.flatnonzero(chosen)
        source = str(self._found.texts[shard])
        while len(rows):
            output = self._open[side]
            room = self._limit - output.bytes
            taken = min(len(rows), int(np.searchsorted(np.cumsum(size[rows]), room)) + 1)
            mine, rows = rows[:taken], rows[taken:]
            bits = np.zeros(len(chosen), np.bool_)
            bits[mine] = True
            piece = RowSelection(source=source, rows=np.packbits(bits).tobytes(), skip=skip if first == mine[0] else 0)
            piece.stop = stop if not len(rows) else None
            if side == "validation" and self._shift is not None:
                begins = np.flatnonzero((part[mine] == 0) & (mine != first) if first is not None else part[mine] == 0)
                piece.renumbered = int(begins[0]) if len(begins) else len(mine)
                piece.shift = self._shift
                if len(begins):
                    self._shift = None
            output.selections.append(piece)
            output.documents += int((part[mine] == 0).sum())
            output.bytes += int(size[mine].sum())
            if output.bytes >= self._limit:
                yield output
                self._open[side] = OutputShard(side=side, index=output.index + 1, selections=[])

    def unfinished(self) -> Iterator[OutputShard]:
        """Yields the outputs that are not full at the end."""
        yield from (output for output in self._open.values() if output.selections)


def write_output(output: OutputShard) -> LineSample:
    """Write one shard unless it exists, and sample its lines."""
    if output.written:
        batches = pq.read_table(output.path, columns=SCHEMA.names, use_threads=False).to_batches()
    else:
        batches = [batch for piece in output.selections for batch in _rows(piece)]
        output.write_progress(READ)
        write_batches(Path(output.path), batches)
        fsync_file(Path(output.path))
        output.write_progress(WRITTEN)
    budget = output.budget if output.side == "train" else 0
    found = sample_lines(batches, output.seed, output.index, budget, output.rarity)
    output.write_progress(1)
    return found


def _rows(piece: RowSelection) -> list[pa.RecordBatch]:
    bits = np.unpackbits(np.frombuffer(piece.rows, np.uint8)).astype(np.bool_)
    chosen, row = [], 0
    for batch in row_batches(Path(piece.source)):
        mine = bits[row : row + len(batch)]
        row += len(batch)
        if mine.any():
            chosen.append(batch.filter(pa.array(mine)))
    rows = pa.Table.from_batches(chosen, schema=SCHEMA)
    if piece.renumbered:
        part = rows["part"].to_numpy().copy()
        part[: piece.renumbered] -= piece.shift
        rows = rows.set_column(1, SCHEMA.field("part"), pa.array(part, pa.int32()))
    if piece.skip or piece.stop is not None:
        first, last = rows["text"][0].as_py(), rows["text"][-1].as_py()
        inner = rows["text"].slice(1, max(0, len(rows) - 2)).chunks
        ends = [first[piece.skip : piece.stop if len(rows) == 1 else None]]
        ends += [] if len(rows) == 1 else [last[: piece.stop]]
        text = pa.chunked_array([pa.array(ends[:1], pa.string()), *inner, pa.array(ends[1:], pa.string())])
        rows = rows.set_column(2, SCHEMA.field("text"), text)
    return rows.to_batches()  # type: ignore[no-any-return]
