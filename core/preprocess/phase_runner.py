"""A phase over all shards: who does the work, what is gone on with after a break, and what is known at its end."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from core.preprocess import minhash
from core.preprocess.counting import Judgement, judge
from core.preprocess.phases import Phase
from core.preprocess.shard import Task, cleaning, text_bytes, work
from core.preprocess.shard_index import Array, Fragment, column, place, read_result
from core.preprocess.shard_stats import document_digest
from core.preprocess.split import split_key
from core.processes.pool import WorkerPool
from core.processes.progress import ProgressMeter
from core.processes.threads import run_in_thread
from core.recipe.schema import Preprocess
from core.storage.artifact import Staging

PULSE = 0.3
"""Seconds between two looks at how far the processes are."""

SETTLED = np.uint16(0xFFFF)
"""Mark of a document that a judge removed, and that is counted already."""


class Spanned(NamedTuple):
    """A document that lies in more than one shard."""

    place: int
    size: int
    """Bytes."""
    digest: bytes
    signature: bytes


class Round:
    """What a finished phase left: its shards, and a mark for each document."""

    def __init__(self, phase: Phase, recipe: Preprocess, texts: list[Path], keys: list[Path]) -> None:
        self.phase, self.recipe, self.texts, self.keys = phase, recipe, texts, keys
        self.results = [read_result(path) for path in keys]
        self.counts: dict[int, list[int]] = {}
        for result in self.results:
            for index, numbers in result.counts.items():
                mine = self.counts.setdefault(index, [0, 0, 0])
                mine[:] = [a + b for a, b in zip(mine, numbers, strict=True)]
        begun = np.array([result.documents for result in self.results], np.int64)
        self.base: Array = np.cumsum(begun) - begun
        """(shards,) documents that begin before each shard."""
        self.gone = np.zeros(sum(result.documents for result in self.results), np.uint16)
        """(documents,) 0 for those that stay, 1 more than the step that took it, or SETTLED. The only thing that is
        held for each document of the corpus, 2 bytes."""
        for shard, path in enumerate(keys):
            self.gone[self.index(shard, column(path, "gone"))] = SETTLED
        self.spanned: list[Spanned] = []
        self._fold()

    @property
    def bytes(self) -> int:
        return sum(result.bytes for result in self.results)

    def index(self, shard: int, document: Array) -> Array:
        """Numbers in the corpus of documents by their numbers in a shard."""
        numbers: Array = self.base[shard] + document.astype(np.int64) - 1
        return numbers

    def mark(self, shard: int) -> Array:
        """(documents + 1,) the marks of a shard's documents, by their numbers in it."""
        first, count = int(self.base[shard]), self.results[shard].documents
        before = self.gone[first - 1 : first] if first else np.zeros(1, np.uint16)
        return np.concatenate([before, self.gone[first : first + count]])

    def records(self, name: str) -> int:
        """How many rows the tables of that name have."""
        return sum(result.records.get(name, 0) for result in self.results)

    def _fold(self) -> None:
        """Join what the shards know of documents that lie in several."""
        open_at, pieces = 0, list[Fragment]()
        for shard, result in enumerate(self.results):
            for fragment in result.fragments:
                if fragment.document:
                    open_at, pieces = int(place(shard, fragment.document)), []
                pieces.append(fragment)
                if fragment.ends:
                    self._settle(open_at, pieces)

    def _settle(self, at: int, pieces: Sequence[Fragment]) -> None:
        slots = [index for index in (self.phase.opener, *self.phase.local) if index is not None]
        slots = slots[len(slots) - len(pieces[0].touched) :]
        found = Judgement(
            np.sum([piece.sizes for piece in pieces], axis=0, dtype=np.int64).reshape(-1, 1),
            np.any([piece.touched for piece in pieces], axis=0).reshape(-1, 1),
            np.sum([piece.measures for piece in pieces], axis=0, dtype=np.int64).reshape(-1, 2, 1),
        )
        size = int(found.sizes[-1, 0])
        if judge(slots, self.recipe, found, np.ones(1, np.bool_), self.counts)[0]:
            self.gone[int(self.base[at >> 32]) + (at & 0xFFFFFFFF) - 1] = SETTLED
            return
        digests = b"".join(piece.digests for piece in pieces)
        digest = document_digest([digests[start : start + 16] for start in range(0, len(digests), 16)] or [b""])
        worded = [np.frombuffer(piece.signature, np.uint32) for piece in pieces if piece.signature]
        short = minhash.short(np.minimum.reduce(worded)).tobytes() if worded else b""
        self.spanned.append(Spanned(at, size, digest, short))

    def spanned_keys(self) -> tuple[Array, Array, Array]:
        """Digest halves and places of the spanned documents."""
        halves = np.frombuffer(b"".join(document.digest for document in self.spanned), "<u8").reshape(-1, 2)
        return halves[:, 0], halves[:, 1], np.array([document.place for document in self.spanned], np.uint64)

    def spanned_split(self) -> tuple[Array, Array, Array]:
        """Keys for the split, sizes and places of the spanned documents."""
        key = [split_key(self.recipe.seed, document.digest) for document in self.spanned]
        size = [document.size for document in self.spanned]
        at = [document.place for document in self.spanned]
        return np.array(key, np.uint64), np.array(size, np.uint64), np.array(at, np.uint64)


def names(phase: Phase, shard: int) -> tuple[str, str]:
    """Of the files with the text and with the keys that a phase makes of a shard."""
    return f"{phase.number}-text-{shard:05d}", f"{phase.number}-keys-{shard:05d}"


def clean_all(
    phase: Phase,
    recipe: Preprocess,
    sources: Sequence[Path],
    before: Round | None,
    condemned: Sequence[Path],
    out: Staging,
    processes: WorkerPool,
) -> Generator[float, None, None]:
    """Take every shard of `sources` through a phase, but those that are published already.

    Yields how many bytes of the sources are done, now and then. before: the phase before, whose shards they are.
    """
    meter = out.path / f".{phase.number}-meter.tmp"
    meter.write_bytes(bytes(8 * len(sources)))

    def tasks() -> Iterator[Task]:
        for shard, source in enumerate(sources):
            if names(phase, shard)[1] in out.published:
                continue
            marks = np.zeros(0, np.uint16) if before is None else before.mark(shard)
            # with our number: a process of an attempt that was killed may take a moment to notice
            text, keys = (out.path / f".{name}.{os.getpid()}.tmp" for name in names(phase, shard))
            yield Task(
                shard=shard,
                phase=phase,
                recipe=recipe,
                source=str(source),
                continues=continues(sources, shard),
                gone=np.packbits(marks != 0).tobytes(),
                before="" if before is None else str(before.keys[shard]),
                condemned=tuple(map(str, condemned)),
                text=str(text),
                keys=str(keys),
                meter=str(meter),
            )

    def publish(task: Task) -> None:
        # the keys last: they say that the shard is complete
        for name, made in zip(names(phase, task.shard), (task.text, task.keys), strict=True):
            out.publish(name, partial(Path.replace, Path(made)))

    skipped = [Path(source) for shard, source in enumerate(sources) if names(phase, shard)[1] in out.published]
    done = float(sum(map(text_bytes, skipped)))
    yield done
    if processes.count == 1:
        for task in tasks():
            here = 0
            for here in cleaning(task):
                yield done + here
            done += here
            for _ in run_in_thread(partial(publish, task), ProgressMeter(None), join=True):
                yield done
    else:
        for finished in processes.map_ordered(work, tasks(), PULSE):
            if finished is not None:
                # the disk may be busy with what was written before, for seconds
                for _ in run_in_thread(partial(publish, finished[0]), ProgressMeter(None), join=True):
                    yield done + float(np.fromfile(meter, "<f8").sum())
            yield done + float(np.fromfile(meter, "<f8").sum())
    meter.unlink()


def continues(sources: Sequence[Path], shard: int) -> bool:
    """Whether the first row behind a shard is a further part of its last document."""
    for path in sources[shard + 1 :]:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1, columns=["part"]):
                return bool(batch.column(0)[0].as_py() > 0)
    return False
