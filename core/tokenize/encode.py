"""Encodes clean documents to token shards, on all cores: one token shard per text shard.

The content of a token shard depends on its text alone, so that shards can be made on several machines.
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
from core.tokenize.codecs import DOCUMENT_SEPARATOR
from core.tokenize.progress_model import TokenizeProgress
from core.tokenize.shards import Tokens, dtype_for, write_shard
from core.tokenize.vocabulary import Vocabulary, split_chunks

_CHUNK_BYTES = 2**18
"""Bytes of text that a thread encodes at once, about 15 ms: balances idle time at the end and scheduling overhead."""

_READ_BYTES = 4 * 2**20
"""Approximate bytes of text read at once."""


class ShardJob(NamedTuple):
    """One token shard to make."""

    name: str
    """File name of the token shard."""
    source: Path
    """The shard of clean text."""
    continues: bool
    """Whether the next shard continues the last document of the source."""


class Chunk(NamedTuple):
    """A piece of text of one shard."""

    text: str
    size: int
    """Bytes of its documents, without separators."""
    joined: bool = False
    """It is several documents with DOCUMENT_SEPARATOR between them."""
    ends: bool = False
    """Whether a document ends at its end."""


def shard_jobs(files: Sequence[Path]) -> list[ShardJob]:
    """The jobs for the shards of one split, in their order."""
    following = [*files[1:], None]
    return [
        ShardJob(f"{path.stem}.tokens", path, after is not None and _starts_with_continuation(after))
        for path, after in zip(files, following, strict=False)
    ]


def _starts_with_continuation(path: Path) -> bool:
    """Whether the first row of a shard continues the document of the shard before it."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1, columns=["part"]):
            return bool(batch.column(0)[0].as_py())
    return False


def encode_shards(
    todo: Sequence[ShardJob], vocabulary: Vocabulary, out: Staging, progress: TokenizeProgress
) -> Generator[Event, None, None]:
    """Publish a token shard for each of `todo`, with an end-of-text token after each document. Yields Progress.

    Facts of each shard: tokens, bytes (of text).
    """
    pieces: list[Tokens] = []
    size = 0
    for job, chunk, tokens in encode_chunks(vocabulary, todo):
        if chunk is not None:
            pieces.append(tokens)
            size += chunk.size
            yield from progress.add_encoded(chunk.size)
        else:
            facts: Facts = {"tokens": sum(map(len, pieces)), "bytes": size}
            out.publish(job.name, partial(write_shard, pieces=[*pieces, tokens]), facts)
            pieces, size = [], 0


def encode_chunks(vocabulary: Vocabulary, todo: Iterable[ShardJob]) -> Iterator[tuple[ShardJob, Chunk | None, Tokens]]:
    """Yields each chunk with its ids, in order, and (job, None, no ids) after each shard. Encodes ahead in threads."""
    dtype = dtype_for(vocabulary.size)
    end = np.array([vocabulary.end_of_text], dtype)
    nothing = np.empty(0, dtype)

    def encode(chunk: Chunk) -> Tokens:
        tokens = vocabulary.encode_chunk(chunk.text, joined=chunk.joined).astype(dtype)
        return np.concatenate([tokens, end]) if chunk.ends else tokens

    pending: deque[tuple[ShardJob, Chunk | None, Future[Tokens] | None]] = deque()
    workers = cores()
    pool = ThreadPoolExecutor(workers)
    try:
        for job in todo:
            for chunk in read_chunks(job):
                pending.append((job, chunk, pool.submit(encode, chunk)))
                while len(pending) > 4 * workers:
                    yield _result(pending, nothing)
            pending.append((job, None, None))
        while pending:
            yield _result(pending, nothing)
    finally:
        pool.shutdown(cancel_futures=True)


def _result(
    pending: deque[tuple[ShardJob, Chunk | None, Future[Tokens] | None]], nothing: Tokens
) -> tuple[ShardJob, Chunk | None, Tokens]:
    job, chunk, future = pending.popleft()
    return job, chunk, future.result() if future is not None else nothing


def read_chunks(job: ShardJob) -> Iterator[Chunk]:
    """The text of a shard in chunks: short documents joined, long ones split."""
    with pq.ParquetFile(job.source) as file:
        if not file.metadata.num_rows:
            return
        parts = _to_int32(file.read(columns=["part"])["part"].combine_chunks())
        ends = np.append(parts[1:] == 0, not job.continues)
        start = 0
        for batch in file.iter_batches(batch_size=_rows_per_batch(file), columns=["text"]):
            yield from _chunks_of_rows(batch.column(0), ends[start : start + batch.num_rows])
            start += batch.num_rows


def _rows_per_batch(file: pq.ParquetFile) -> int:
    """Number of rows to read at once."""
    groups = (file.metadata.row_group(index) for index in range(file.metadata.num_row_groups))
    size = sum(group.column(file.schema_arrow.get_field_index("text")).total_uncompressed_size for group in groups)
    return max(1, int(_READ_BYTES * file.metadata.num_rows / max(1, size)))


def _to_int32(column: pa.Array) -> NDArray[np.int32]:
    """(rows,) the values without a copy; Arrow's `to_numpy` imports pandas (0.2 s, 40 MB)."""
    return np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column)]


def _chunks_of_rows(texts: pa.Array, ends: NDArray[np.bool_]) -> Iterator[Chunk]:
    """ends: (rows,) whether each row ends its document."""
    unfinished = np.flatnonzero(~ends)
    sizes = _to_int32(pc.binary_length(texts))
    before = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    start = 0
    while start < len(sizes):
        if sizes[start] > _CHUNK_BYTES:
            yield from _split_document(texts[start].as_py(), bool(ends[start]))
            start += 1
            continue
        stop = max(start + 1, int(np.searchsorted(before, before[start] + _CHUNK_BYTES, "right")) - 1)
        # a row after a part that does not end its document must not be joined to it
        index = int(np.searchsorted(unfinished, start))
        if index < len(unfinished):
            stop = min(stop, int(unfinished[index]) + 1)
        yield from _join_documents(
            texts.slice(start, stop - start), int(before[stop] - before[start]), bool(ends[stop - 1])
        )
        start = stop


def _split_document(text: str, ends: bool) -> Iterator[Chunk]:
    held: str | None = None
    for piece in split_chunks(text, _CHUNK_BYTES):
        if held is not None:
            yield Chunk(held, len(held.encode()))
        held = piece
    if held is not None:
        yield Chunk(held, len(held.encode()), ends=ends)


def _join_documents(texts: pa.Array, size: int, ends: bool) -> Iterator[Chunk]:
    """Join rows that each end their document, except possibly the last; `ends`: whether the last one does."""
    rows = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
    text: str = pc.binary_join(rows, DOCUMENT_SEPARATOR)[0].as_py()
    if text.count(DOCUMENT_SEPARATOR) == len(texts) - 1:
        yield Chunk(text, size, joined=True, ends=ends)
        return
    for index, row in enumerate(texts.to_pylist()):  # the text itself contains DOCUMENT_SEPARATOR
        yield Chunk(row, len(row.encode()), ends=ends or index < len(texts) - 1)
