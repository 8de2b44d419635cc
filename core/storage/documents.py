"""Parquet shards of documents, with the columns name, part and text.

A document of more than 4 MiB is stored in consecutive rows, its parts 0, 1, 2…, to be joined without a separator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

SHARD_BYTES = 32 * 2**20
"""UTF-8 bytes of text after which a shard is written: large enough to compress well, small enough to hold."""

SCHEMA = pa.schema([("name", pa.string()), ("part", pa.int32()), ("text", pa.string())])


class DocumentPart(NamedTuple):
    """A document, or a part of a long one."""

    name: str
    number: int
    text: str
    last: bool = True
    """Whether it is the last part of the document; not stored, computed when reading."""


def batch_of(parts: Sequence[DocumentPart]) -> pa.RecordBatch:
    """`parts` as an Arrow record batch."""
    columns = {
        "name": [part.name for part in parts],
        "part": [part.number for part in parts],
        "text": [part.text for part in parts],
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


def write_batches(path: Path, batches: Sequence[pa.RecordBatch]) -> None:
    """Write one shard. The bytes depend on the rows only, not on how they are divided into batches."""
    table = pa.Table.from_batches(batches, schema=SCHEMA).combine_chunks()
    pq.write_table(table, path, compression="zstd", use_dictionary=["name"])


def write_parts(path: Path, parts: Sequence[DocumentPart]) -> None:
    """Write one shard of `parts`."""
    write_batches(path, [batch_of(parts)])


def read_parts(files: Iterable[Path], start: int = 0) -> Iterator[DocumentPart]:
    """Iterate over the parts in `files` from row `start` on, with at most 16 rows in memory."""
    previous: DocumentPart | None = None
    for part in _rows(files, start):
        if previous is not None:
            yield previous._replace(last=part.number == 0)
        previous = part
    if previous is not None:
        yield previous


def _rows(files: Iterable[Path], start: int) -> Iterator[DocumentPart]:
    for path in files:
        with pq.ParquetFile(path) as file:
            if start >= file.metadata.num_rows:
                start -= file.metadata.num_rows
                continue
            # 16 rows: with parts of 4 MiB a batch is at most 64 MiB
            for batch in file.iter_batches(batch_size=16):
                for name, number, text in zip(*batch.slice(start).columns, strict=True):
                    yield DocumentPart(name.as_py(), number.as_py(), text.as_py())
                start = max(0, start - batch.num_rows)
