"""The result of a phase over all shards: their files, and which documents were removed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.preprocess import minhash
from core.preprocess.apply_filters import DocumentEffects, apply_filters
from core.preprocess.phases import Phase
from core.preprocess.shard_index import Array, DocumentFragment, position, read_column, read_result
from core.preprocess.shard_stats import document_digest
from core.preprocess.split import split_key
from core.recipe.schema import Preprocess

REMOVED_BY_FILTER = np.uint16(0xFFFF)
"""Value of `PhaseResult.removed` for documents that a filter removed, which are counted already."""


class SpanningDocument(NamedTuple):
    """A document whose parts are in more than one shard."""

    position: int
    size: int
    """Bytes."""
    digest: bytes
    signature: bytes


class PhaseResult:
    """Files of a finished phase, and for each document whether it was removed."""

    def __init__(self, phase: Phase, recipe: Preprocess, texts: list[Path], keys: list[Path]) -> None:
        self.phase, self.recipe, self.texts, self.keys = phase, recipe, texts, keys
        self.results = [read_result(path) for path in keys]
        self.counts: dict[int, list[int]] = {}
        for result in self.results:
            for index, numbers in result.counts.items():
                mine = self.counts.setdefault(index, [0, 0, 0])
                mine[:] = [a + b for a, b in zip(mine, numbers, strict=True)]
        documents = np.array([result.documents for result in self.results], np.int64)
        self.base: Array = np.cumsum(documents) - documents
        """(shards,) number of documents that begin before each shard."""
        self.removed = np.zeros(sum(result.documents for result in self.results), np.uint16)
        """(documents,) 0 if the document stays, index of the step that removed it + 1, or REMOVED_BY_FILTER. The only
        data held in memory per document: 2 bytes."""
        for shard, path in enumerate(keys):
            self.removed[self.index(shard, read_column(path, "gone"))] = REMOVED_BY_FILTER
        self.spanning: list[SpanningDocument] = []
        self._merge_spanning()

    @property
    def bytes(self) -> int:
        return sum(result.bytes for result in self.results)

    def index(self, shard: int, document: Array) -> Array:
        """Indices in the corpus of documents, given their numbers in a shard, which count from 1."""
        numbers: Array = self.base[shard] + document.astype(np.int64) - 1
        return numbers

    def removed_in_shard(self, shard: int) -> Array:
        """(documents + 1,) `removed` of a shard's documents, by their numbers in it; 0 is one that began before."""
        first, count = int(self.base[shard]), self.results[shard].documents
        before = self.removed[first - 1 : first] if first else np.zeros(1, np.uint16)
        return np.concatenate([before, self.removed[first : first + count]])

    def records(self, name: str) -> int:
        """Total rows of the tables of that name."""
        return sum(result.records.get(name, 0) for result in self.results)

    def _merge_spanning(self) -> None:
        """Merge the fragments of documents that span several shards."""
        open_at, selections = 0, list[DocumentFragment]()
        for shard, result in enumerate(self.results):
            for fragment in result.fragments:
                if fragment.document:
                    open_at, selections = int(position(shard, fragment.document)), []
                selections.append(fragment)
                if fragment.ends:
                    self._merge_fragments(open_at, selections)

    def _merge_fragments(self, at: int, selections: Sequence[DocumentFragment]) -> None:
        steps = [index for index in (self.phase.reshape_step, *self.phase.document_steps) if index is not None]
        steps = steps[len(steps) - len(selections[0].touched) :]
        found = DocumentEffects(
            np.sum([piece.sizes for piece in selections], axis=0, dtype=np.int64).reshape(-1, 1),
            np.any([piece.touched for piece in selections], axis=0).reshape(-1, 1),
            np.sum([piece.measures for piece in selections], axis=0, dtype=np.int64).reshape(-1, 2, 1),
        )
        size = int(found.sizes[-1, 0])
        if apply_filters(steps, self.recipe, found, np.ones(1, np.bool_), self.counts)[0]:
            self.removed[int(self.base[at >> 32]) + (at & 0xFFFFFFFF) - 1] = REMOVED_BY_FILTER
            return
        digests = b"".join(piece.digests for piece in selections)
        digest = document_digest([digests[start : start + 16] for start in range(0, len(digests), 16)] or [b""])
        worded = [np.frombuffer(piece.signature, np.uint32) for piece in selections if piece.signature]
        short_signatures = minhash.short_signatures(np.minimum.reduce(worded)).tobytes() if worded else b""
        self.spanning.append(SpanningDocument(at, size, digest, short_signatures))

    def spanning_keys(self) -> tuple[Array, Array, Array]:
        """Digests, as two 64-bit halves, and positions of the spanning documents."""
        halves = np.frombuffer(b"".join(document.digest for document in self.spanning), "<u8").reshape(-1, 2)
        return halves[:, 0], halves[:, 1], np.array([document.position for document in self.spanning], np.uint64)

    def spanning_split_keys(self) -> tuple[Array, Array, Array]:
        """Split keys, sizes in bytes and positions of the spanning documents."""
        key = [split_key(self.recipe.seed, document.digest) for document in self.spanning]
        size = [document.size for document in self.spanning]
        at = [document.position for document in self.spanning]
        return np.array(key, np.uint64), np.array(size, np.uint64), np.array(at, np.uint64)
