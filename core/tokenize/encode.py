"""Clean documents become token shards, on all cores: one shard of tokens for each shard of text.

So what is in a shard of tokens depends on nothing but the text, and any shard can be made anywhere, by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.events import Event
from core.hardware import cores
from core.storage.artifact import Facts, Staging
from core.tokenize.codecs import JOINT
from core.tokenize.progress_model import Effort
from core.tokenize.shards import Tokens, dtype_for, write_shard
from core.tokenize.vocabulary import Vocabulary, cut

_BATCH = 2**18
"""Bytes of text a thread encodes at once, about 15 ms: little waiting at the end, little handing over."""

_READ = 4 * 2**20
"""Bytes of text read at once, if the rows are of about one size."""


class Job(NamedTuple):
    """One shard of tokens to be made."""

    name: str
    """Its file name."""
    source: Path
    """The shard of clean text."""
    goes_on: bool
    """Whether the last document of the source ends only in the next shard."""


class Chunk(NamedTuple):
    """Some text of one shard."""

    text: str
    size: int
    """Bytes of its documents."""
    joined: bool = False
    """It is several documents with JOINT between them."""
    ends: bool = False
    """A document ends with it."""


def jobs(files: Sequence[Path]) -> list[Job]:
    """What is to be made of the shards of one side of the split, in their order."""
    following = [*files[1:], None]
    return [
        Job(f"{path.stem}.tokens", path, after is not None and _begins_inside(after))
        for path, after in zip(files, following, strict=False)
    ]


def _begins_inside(path: Path) -> bool:
    """Whether the first row of a shard goes on with the document before it."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1, columns=["part"]):
            return bool(batch.column(0)[0].as_py())
    return False


def encode_shards(
    todo: Sequence[Job], vocabulary: Vocabulary, out: Staging, effort: Effort
) -> Generator[Event, None, None]:
    """Publish a shard of tokens for each of `todo`, an end-of-text mark behind each document.

    Facts of each: tokens, bytes (of text).
    """
    pieces: list[Tokens] = []
    size = 0
    for job, chunk, tokens in encoded(vocabulary, todo):
        if chunk is not None:
            pieces.append(tokens)
            size += chunk.size
            yield from effort.encoded(chunk.size)
        else:
            facts: Facts = {"tokens": sum(map(len, pieces)), "bytes": size}
            out.publish(job.name, partial(write_shard, pieces=[*pieces, tokens]), facts)
            pieces, size = [], 0


def encoded(vocabulary: Vocabulary, todo: Iterable[Job]) -> Iterator[tuple[Job, Chunk | None, Tokens]]:
    """Each chunk with its ids, in order, and no chunk at the end of a shard. A few are ahead in threads."""
    dtype = dtype_for(vocabulary.size)
    end = np.array([vocabulary.end_of_text], dtype)
    nothing = np.empty(0, dtype)

    def encode(chunk: Chunk) -> Tokens:
        tokens = vocabulary.encode_chunk(chunk.text, joined=chunk.joined).astype(dtype)
        return np.concatenate([tokens, end]) if chunk.ends else tokens

    ahead: deque[tuple[Job, Chunk | None, Future[Tokens] | None]] = deque()
    workers = cores()
    pool = ThreadPoolExecutor(workers)
    try:
        for job in todo:
            for chunk in chunks(job):
                ahead.append((job, chunk, pool.submit(encode, chunk)))
                while len(ahead) > 4 * workers:
                    yield _result(ahead, nothing)
            ahead.append((job, None, None))
        while ahead:
            yield _result(ahead, nothing)
    finally:
        pool.shutdown(cancel_futures=True)


def _result(
    ahead: deque[tuple[Job, Chunk | None, Future[Tokens] | None]], nothing: Tokens
) -> tuple[Job, Chunk | None, Tokens]:
    job, chunk, future = ahead.popleft()
    return job, chunk, future.result() if future is not None else nothing


def chunks(job: Job) -> Iterator[Chunk]:
    """The text of a shard: short documents joined, long ones cut."""
    with pq.ParquetFile(job.source) as file:
        if not file.metadata.num_rows:
            return
        parts = _numbers(file.read(columns=["part"])["part"].combine_chunks())
        ends = np.append(parts[1:] == 0, not job.goes_on)
        start = 0
        for batch in file.iter_batches(batch_size=_rows(file), columns=["text"]):
            yield from _of_rows(batch.column(0), ends[start : start + batch.num_rows])
            start += batch.num_rows


def _rows(file: pq.ParquetFile) -> int:
    """How many rows to read at once."""
    groups = (file.metadata.row_group(index) for index in range(file.metadata.num_row_groups))
    size = sum(group.column(file.schema_arrow.get_field_index("text")).total_uncompressed_size for group in groups)
    return max(1, int(_READ * file.metadata.num_rows / max(1, size)))


def _numbers(column: pa.Array) -> NDArray[np.int32]:
    """The same int32 numbers; Arrow's own way imports pandas, 0.2 s and 40 MB, where that is installed."""
    return np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column)]


def _of_rows(texts: pa.Array, ends: NDArray[np.bool_]) -> Iterator[Chunk]:
    """ends: (rows,) whether each ends its document."""
    unfinished = np.flatnonzero(~ends)
    sizes = _numbers(pc.binary_length(texts))
    before = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    start = 0
    while start < len(sizes):
        if sizes[start] > _BATCH:
            yield from _long(texts[start].as_py(), bool(ends[start]))
            start += 1
            continue
        stop = max(start + 1, int(np.searchsorted(before, before[start] + _BATCH, "right")) - 1)
        # what follows a part that does not end its document must not be joined to it: the borders are kept
        index = int(np.searchsorted(unfinished, start))
        if index < len(unfinished):
            stop = min(stop, int(unfinished[index]) + 1)
        yield from _short(texts.slice(start, stop - start), int(before[stop] - before[start]), bool(ends[stop - 1]))
        start = stop


def _long(text: str, ends: bool) -> Iterator[Chunk]:
    held: str | None = None
    for piece in cut(text, _BATCH):
        if held is not None:
            yield Chunk(held, len(held.encode()))
        held = piece
    if held is not None:
        yield Chunk(held, len(held.encode()), ends=ends)


def _short(texts: pa.Array, size: int, ends: bool) -> Iterator[Chunk]:
    """Rows of which each but perhaps the last ends its document; `ends`: whether that one does too."""
    rows = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
    text: str = pc.binary_join(rows, JOINT)[0].as_py()
    if text.count(JOINT) == len(texts) - 1:
        yield Chunk(text, size, joined=True, ends=ends)
        return
    for index, row in enumerate(texts.to_pylist()):  # JOINT is in the text itself
        yield Chunk(row, len(row.encode()), ends=ends or index < len(texts) - 1)
