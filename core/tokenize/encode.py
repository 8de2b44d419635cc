"""Clean documents become token shards, on all cores."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict

from core.artifact import Staging
from core.download.documents import Part, read_parts
from core.download.progress import Meter, published_shards, shard_name
from core.events import Event
from core.tokenize.shards import Tokens, dtype_for, write_shard
from core.tokenize.vocabulary import Vocabulary, cut

SHARD_TOKENS = 2**25
"""Ids after which a shard is written; they wait in memory, 64 or 128 MiB."""
_BATCH = 2**18
"""Characters a thread encodes at once, about 25 ms: little waiting at the end, little handing over."""


class Encoded(Struct, kw_only=True):
    """How much of a split is in its shards."""

    row: int = 0
    """Part that comes next."""
    tokens: int = 0
    bytes: int = 0
    """Of text."""


class _Chunk(NamedTuple):
    text: str
    size: int
    """Bytes of UTF-8."""
    ends_part: bool
    ends_document: bool


def encode_split(
    files: list[Path], stem: str, vocabulary: Vocabulary, out: Staging, meter: Meter
) -> Generator[Event, None, Encoded]:
    """Write the tokens of all documents in `files` to shards `stem-*.tokens`, an end-of-text mark behind each.

    Goes on behind the last complete shard; shards end with a part, so the same text gives the same files.
    """
    shards, facts = published_shards(out, stem, "tokens")
    done = Encoded(**facts) if facts else Encoded()  # type: ignore[arg-type]
    yield from meter.advance(done.bytes)
    pieces: list[Tokens] = []
    held = 0
    for chunk, tokens in _encoded(vocabulary, _chunks(read_parts(files, done.row))):
        pieces.append(tokens)
        held += len(tokens)
        done.tokens += len(tokens)
        done.bytes += chunk.size
        done.row += chunk.ends_part
        if held >= SHARD_TOKENS and chunk.ends_part:
            out.publish(shard_name(stem, shards, "tokens"), partial(write_shard, pieces=pieces), asdict(done))
            shards, pieces, held = shards + 1, [], 0
        yield from meter.advance(chunk.size)
    if pieces:
        out.publish(shard_name(stem, shards, "tokens"), partial(write_shard, pieces=pieces), asdict(done))
    return done


def _chunks(parts: Iterable[Part]) -> Iterator[_Chunk]:
    for part in parts:
        *before, last = [*cut(part.text)] or [""]
        for text in before:
            yield _Chunk(text, len(text.encode()), False, False)
        yield _Chunk(last, len(last.encode()), True, part.last)


def _encoded(vocabulary: Vocabulary, chunks: Iterator[_Chunk]) -> Iterator[tuple[_Chunk, Tokens]]:
    """Each chunk with its ids, in order. A few batches are ahead in threads, which tiktoken runs in parallel."""
    dtype = dtype_for(vocabulary.size)
    end = np.array([vocabulary.end_of_text], dtype)

    def encode(batch: list[_Chunk]) -> list[tuple[_Chunk, Tokens]]:
        done = []
        for chunk in batch:
            tokens = vocabulary.encode_chunk(chunk.text).astype(dtype)
            done.append((chunk, np.concatenate([tokens, end]) if chunk.ends_document else tokens))
        return done

    cores = os.cpu_count() or 1
    ahead: deque[Future[list[tuple[_Chunk, Tokens]]]] = deque()
    pool = ThreadPoolExecutor(cores)
    try:
        for batch in _batches(chunks):
            ahead.append(pool.submit(encode, batch))
            if len(ahead) > 2 * cores:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(chunks: Iterator[_Chunk]) -> Iterator[list[_Chunk]]:
    batch: list[_Chunk] = []
    size = 0
    for chunk in chunks:
        batch.append(chunk)
        size += len(chunk.text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
