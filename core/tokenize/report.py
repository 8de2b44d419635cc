"""Vocabulary report: how often a corpus uses each entry, counted in its token shards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.storage.artifact import Facts
from core.tokenize.shards import map_shard
from core.tokenize.vocabulary import Vocabulary
from core.vocab.report import VocabularyEntry, VocabularyReport

_SLICE = 2**20
"""Ids counted at once; counting takes eight bytes per id."""
_LISTED = 20


def count_ids(shards: Iterable[Path], size: int) -> NDArray[np.int64]:
    """(size,) number of occurrences of each id in the shards."""
    counts = np.zeros(size, np.int64)
    for path in shards:
        ids = map_shard(path)
        for start in range(0, len(ids), _SLICE):
            counts += np.bincount(ids[start : start + _SLICE], minlength=size)
    return counts


def write_report(path: Path, vocabulary: Vocabulary, counts: NDArray[np.int64], sums: Facts, learned_from: int) -> None:
    """Write the report.

    counts: (size,) occurrences of each id in the training text. sums: tokens and bytes of both splits, named as in the
    facts of the stage. learned_from: bytes of text the vocabulary was trained on.
    """
    report = _make_report(vocabulary, counts, {name: int(value) for name, value in sums.items()}, learned_from)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def _make_report(
    vocabulary: Vocabulary, counts: NDArray[np.int64], sums: Mapping[str, int], learned_from: int
) -> VocabularyReport:
    lengths = np.zeros(vocabulary.size, np.int64)
    lengths[: len(vocabulary.ranks)] = [len(token) for token in vocabulary.ranks]
    has_text = lengths > 0
    used = int((counts[has_text] > 0).sum())
    entries = int(has_text.sum())

    def entry(token: int) -> VocabularyEntry:
        content = vocabulary.ranks[token]
        return VocabularyEntry(
            id=token,
            bytes=len(content),
            text=content.decode("utf-8", "replace"),
            hex=content[:64].hex(),
            count=int(counts[token]),
        )

    # stable sorts: equal entries are in the order of their ids
    longest = np.argsort(-lengths, kind="stable")[:_LISTED]
    frequent = np.argsort(np.where(has_text, -counts, 1), kind="stable")[:_LISTED]
    return VocabularyReport(
        vocabulary=vocabulary.name,
        size=vocabulary.size,
        entries=entries,
        used=used,
        unused=entries - used,
        learned_from=learned_from,
        train_bytes=sums["train_bytes"],
        train_tokens=sums["train_tokens"],
        validation_bytes=sums["validation_bytes"],
        validation_tokens=sums["validation_tokens"],
        train_bytes_per_token=round(sums["train_bytes"] / max(1, sums["train_tokens"]), 4),
        bytes_per_token=round(sums["validation_bytes"] / max(1, sums["validation_tokens"]), 4),
        longest=tuple(entry(int(token)) for token in longest if has_text[token]),
        frequent=tuple(entry(int(token)) for token in frequent if counts[token] and has_text[token]),
    )
