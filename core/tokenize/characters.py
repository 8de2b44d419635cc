"""Vocabularies of single characters and of single bytes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from core.events import Event
from core.tokenize.progress_model import SCANNING, Effort
from core.tokenize.vocabulary import Vocabulary

_ROWS = 1024


def characters(files: Sequence[Path], effort: Effort) -> Generator[Event, None, Vocabulary]:
    """Ids 0 to n − 1: the n characters of the clean shards `files`, in Unicode's order, as in nanoGPT.

    Behind them the single bytes that are no character there, so that any text has ids; then the end-of-text mark.
    """
    seen = np.zeros(0x110000, np.bool_)
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=["text"]):
                for text in batch.column(0):
                    seen[np.frombuffer(text.as_py().encode("utf-32-le"), "<u4")] = True
                yield from effort.learned(SCANNING * batch.column(0).nbytes)
    return of_characters([chr(code) for code in np.flatnonzero(seen)])


def of_characters(known: Sequence[str]) -> Vocabulary:
    """The vocabulary of these characters, which are in Unicode's order."""
    ranks = [character.encode() for character in known]
    present = set(ranks)
    fallback = [bytes([byte]) for byte in range(256) if bytes([byte]) not in present]
    return Vocabulary("characters", "", [*ranks, *fallback], kind="characters")


def single_bytes() -> Vocabulary:
    """Ids 0 to 255: the bytes; 256: the end-of-text mark."""
    return Vocabulary("bytes", "", [bytes([byte]) for byte in range(256)], kind="bytes")
