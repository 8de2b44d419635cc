"""The clean documents on their way to the two sides: which rows go into which shard, and writing them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct
from numpy.typing import NDArray

from core.preprocess.phase_runner import Round
from core.preprocess.sampling import Sample, sample
from core.preprocess.shard import groups
from core.preprocess.shard_index import Array, column
from core.preprocess.split import Side, Split, cut_at_line
from core.storage.documents import SCHEMA, write_batches
from core.storage.files import fsync_file

READ, WRITTEN = 0.2, 0.7
"""Shares of the time an output takes after which its rows are in memory, and on the disk."""


class Piece(Struct, kw_only=True):
    """Rows of one shard of the last phase that go into one shard of a side."""

    source: str
    rows: bytes
    """A bit for each row of the source."""
    stop: int | None = None
    """Characters of the last row that are taken, where it is cut."""
    skip: int = 0
    """Characters of the first row that are not."""
    renumbered: int = 0
    """Rows at the beginning that belong to a document whose beginning is on the other side…"""
    shift: int = 0
    """…by so many parts."""


class Output(Struct, kw_only=True):
    """One shard of a side."""

    side: Side
    index: int
    documents: int = 0
    """That begin in it."""
    bytes: int = 0
    pieces: list[Piece] = []
    path: str = ""
    written: bool = False
    """Whether it is there already, and has only to be sampled."""
    seed: int = 1
    budget: int = 0
    """Bytes of it that are sampled for lines that stand often."""
    rarity: int = 0
    """Of every 2^rarity lines one is compared between the sides."""
    meter: str = ""
    """File in which a number for each output says how many of its bytes are done."""
    number: int = 0
    """Place of this one in it."""

    def tell(self, share: float) -> None:
        """Say in `meter` how much of it is done."""
        with Path(self.meter).open("r+b", buffering=0) as file:
            file.seek(8 * self.number)
            file.write(struct.pack("<d", share * self.bytes))


def outputs(found: Round, split: Split, shard_bytes: int) -> Iterator[Output]:
    """The shards of both sides, each as soon as it is settled: `shard_bytes` of text and at most one row more."""
    planner = _Planner(found, split, shard_bytes)
    for shard in range(len(found.keys)):
        yield from planner.take(shard)
    yield from planner.rest()


class _Planner:
    def __init__(self, found: Round, split: Split, shard_bytes: int) -> None:
        self._found, self._split, self._limit = found, split, shard_bytes
        self._open: dict[Side, Output] = {
            side: Output(side=side, index=0, pieces=[]) for side in ("train", "validation")
        }
        self._passed = 0
        """Bytes in front of the present shard, where the tail is held out."""
        self._shift: int | None = None
        """Parts of the present document that were left to training."""
        key, _, at = found.spanned_split()
        held = split.holds_out(key) if split.by_document else np.zeros(len(key), np.bool_)
        shards = (at >> np.uint64(32)).astype(np.int64)
        numbers = found.base[shards] + (at & np.uint64(0xFFFFFFFF)).astype(np.int64) - 1
        self._spanned = dict(zip(numbers.tolist(), held.tolist(), strict=True))

    def take(self, shard: int) -> Iterator[Output]:
        """Divide the rows of one shard; the outputs that are full by now."""
        part, size = (column(self._found.keys[shard], f"row.{name}") for name in ("part", "size"))
        size = size.astype(np.int64)
        number = np.cumsum(part == 0)
        stays = self._found.mark(shard)[number] == 0
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
            yield from self._cut(shard, part, size, head, tail, cut, int(end[cut]))

    def _held(self, shard: int) -> NDArray[np.bool_]:
        """(documents + 1,) which documents of a shard, by their numbers in it, are held out."""
        path = self._found.keys[shard]
        count = self._found.results[shard].documents
        held = np.zeros(count + 1, np.bool_)
        held[column(path, "split.document")[self._split.holds_out(column(path, "split.key"))]] = True
        for number in (0, count):
            held[number] |= self._spanned.get(int(self._found.base[shard]) + number - 1, False)
        return held

    def _cut(
        self, shard: int, part: Array, size: Array, head: Array, tail: Array, cut: int, end: int
    ) -> Iterator[Output]:
        """The shard in which the tail begins, in the middle of a row."""
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
    ) -> Iterator[Output]:
        rows = np.flatnonzero(chosen)
        source = str(self._found.texts[shard])
        while len(rows):
            output = self._open[side]
            room = self._limit - output.bytes
            taken = min(len(rows), int(np.searchsorted(np.cumsum(size[rows]), room)) + 1)
            mine, rows = rows[:taken], rows[taken:]
            bits = np.zeros(len(chosen), np.bool_)
            bits[mine] = True
            piece = Piece(source=source, rows=np.packbits(bits).tobytes(), skip=skip if first == mine[0] else 0)
            piece.stop = stop if not len(rows) else None
            if side == "validation" and self._shift is not None:
                begins = np.flatnonzero((part[mine] == 0) & (mine != first) if first is not None else part[mine] == 0)
                piece.renumbered = int(begins[0]) if len(begins) else len(mine)
                piece.shift = self._shift
                if len(begins):
                    self._shift = None
            output.pieces.append(piece)
            output.documents += int((part[mine] == 0).sum())
            output.bytes += int(size[mine].sum())
            if output.bytes >= self._limit:
                yield output
                self._open[side] = Output(side=side, index=output.index + 1, pieces=[])

    def rest(self) -> Iterator[Output]:
        """What is not full at the end."""
        yield from (output for output in self._open.values() if output.pieces)


def write(output: Output) -> Sample:
    """Write one shard, unless it is there, and look into it."""
    if output.written:
        batches = pq.read_table(output.path, columns=SCHEMA.names, use_threads=False).to_batches()
    else:
        batches = [batch for piece in output.pieces for batch in _rows(piece)]
        output.tell(READ)
        write_batches(Path(output.path), batches)
        fsync_file(Path(output.path))
        output.tell(WRITTEN)
    budget = output.budget if output.side == "train" else 0
    found = sample(batches, output.seed, output.index, budget, output.rarity)
    output.tell(1)
    return found


def _rows(piece: Piece) -> list[pa.RecordBatch]:
    bits = np.unpackbits(np.frombuffer(piece.rows, np.uint8)).astype(np.bool_)
    chosen, row = [], 0
    for batch in groups(Path(piece.source)):
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
