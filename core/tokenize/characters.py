"""Vocabularies of single characters and of single bytes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from core.events import Event
from core.tokenize.progress_model import SCAN_COST, TokenizeProgress
from core.tokenize.vocabulary import Vocabulary

_ROWS = 1024


def train_characters(files: Sequence[Path], progress: TokenizeProgress) -> Generator[Event, None, Vocabulary]:
    """A vocabulary of the n characters of the clean shards `files`: ids 0 to n − 1 in Unicode order, as in nanoGPT.

    They are followed by the single bytes that are not among them, so that any text can be encoded, and the
    end-of-text token.
    """
    seen = np.zeros(0x110000, np.bool_)
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=["text"]):
                for text in batch.column(0):
                    seen[np.frombuffer(text.as_py().encode("utf-32-le"), "<u4")] = True
                yield from progress.add_training_work(SCAN_COST * batch.column(0).nbytes)
    return character_vocabulary([chr(code) for code in np.flatnonzero(seen)])


def character_vocabulary(known: Sequence[str]) -> Vocabulary:
    """The vocabulary of the given characters, which are in Unicode order."""
    ranks = [character.encode() for character in known]
    present = set(ranks)
    fallback = [bytes([byte]) for byte in range(256) if bytes([byte]) not in present]
    return Vocabulary("characters", "", [*ranks, *fallback], kind="characters")


def byte_vocabulary() -> Vocabulary:
    """A vocabulary of single bytes: ids 0 to 255; 256 is the end-of-text token."""
    return Vocabulary("bytes", "", [bytes([byte]) for byte in range(256)], kind="bytes")
