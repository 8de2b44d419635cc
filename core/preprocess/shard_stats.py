"""What one shard has to say to the rest of the corpus: collected row by row, then made into tables."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from core.preprocess import lines, minhash
from core.preprocess.counting import Judgement, judge
from core.preprocess.phases import Phase
from core.preprocess.shard_index import Array, Fragment, Result, table
from core.preprocess.split import split_key
from core.recipe.schema import Preprocess


class Findings:
    """Collects what the steps that look at the whole corpus, and the split, need to know of each row of a shard."""

    def __init__(self, phase: Phase, recipe: Preprocess, slots: Sequence[int]) -> None:
        self._phase, self._recipe, self._slots = phase, recipe, slots
        closers = {recipe.steps[index] for index in phase.closers}
        self._digested = "duplicates" in closers or phase.last
        self._signed = "near_duplicates" in closers
        self._lined = phase.following == "duplicate_lines"
        self.counts: dict[int, list[int]] = {index: [0, 0, 0] for index in slots}
        """By step: documents changed, documents removed, bytes taken away."""
        # what there is to know of no row, so that an empty shard is nothing special; in 32 bits, which hold what a
        # shard can have, since of single sentences there are a million rows
        self._sizes: list[Array] = [np.zeros((len(slots) + 1, 0), np.int32)]
        self._touched: list[Array] = [np.zeros((len(slots), 0), np.bool_)]
        self._measures: list[Array] = [np.zeros((len(slots), 2, 0), np.int32)]
        self._parts: list[Array] = [np.zeros(0, np.int32)]
        self._last = [np.zeros(0, np.bool_)]
        self._characters: list[Array] = [np.zeros(0, np.int32)]
        self._short = [np.zeros((0, minhash.NUMBERS), np.uint16)]
        self._worded = [np.zeros(0, np.bool_)]
        self._digests = bytearray()
        """16 bytes a row."""
        self._hashes: list[NDArray[np.uint64]] = []
        self._long: dict[int, NDArray[np.uint32]] = {}
        """Whole signatures of rows that are parts of longer documents."""
        self._rows = 0

    def add(
        self,
        texts: list[str],
        part: Array,
        last: NDArray[np.bool_],
        characters: Array,
        found: tuple[Array, Array, Array],
    ) -> None:
        """Take in some cleaned rows. found: as `Judgement`, but a column for each row."""
        for collected, values in zip((self._sizes, self._touched, self._measures), found, strict=True):
            collected.append(values)
        self._parts.append(part)
        self._last.append(last)
        self._characters.append(characters)
        if self._digested:
            self._digests += b"".join(blake2b(text.encode(), digest_size=16).digest() for text in texts)
        if self._lined:
            self._hashes += map(lines.comparable, texts)
        if self._signed:
            made, worded = minhash.signatures(texts)
            self._short.append(minhash.short(made))
            self._worded.append(worded)
            self._long |= {self._rows + int(at): made[at].copy() for at in np.flatnonzero((part > 0) | ~last)}
        self._rows += len(texts)

    def tables(self, read: tuple[int, int, int]) -> tuple[dict[str, Array], Result]:
        """Decide which documents go, as far as this shard can tell, and what is to be known of the others."""
        part, last = np.concatenate(self._parts), np.concatenate(self._last)
        sizes = np.concatenate(self._sizes, axis=1)
        firsts = np.flatnonzero((part == 0) | (np.arange(len(part)) == 0))
        lengths = np.diff(np.append(firsts, len(part)))
        whole = (part[firsts] == 0) & last[firsts + lengths - 1]
        number = np.cumsum(part[firsts] == 0)
        # of single rows nothing has to be added up, and reduceat knows no empty arrays
        single = len(firsts) == len(part)
        touched, measures = np.concatenate(self._touched, axis=1), np.concatenate(self._measures, axis=2)
        self._sizes, self._touched, self._measures = [], [], []
        found = Judgement(
            sizes if single else np.add.reduceat(sizes, firsts, axis=1),
            touched if single else np.logical_or.reduceat(touched, firsts, axis=1),
            measures if single else np.add.reduceat(measures, firsts, axis=2),
        )
        gone = judge(self._slots, self._recipe, found, whole, self.counts)
        fragments = [
            self._fragment(piece, range(int(firsts[piece]), int(firsts[piece] + lengths[piece])), number, last, found)
            for piece in np.flatnonzero(~whole).tolist()
        ]
        arrays = {
            "row.size": sizes[-1].astype(np.uint32),
            "row.characters": np.concatenate(self._characters).astype(np.uint32),
            "row.part": part.astype(np.int32),
            "gone": number[gone].astype(np.uint32),
        }
        settled = np.flatnonzero(whole & ~gone)
        if self._digested:
            arrays |= self._by_content(settled, firsts, lengths, number, found.sizes[-1])
        if self._signed:
            arrays |= self._by_signature(settled, firsts, lengths, number)
        if self._lined:
            arrays["row.lines"] = np.array([len(row) for row in self._hashes], np.uint32)
            key, line, row = lines.windows(self._hashes, self._recipe.window)
            arrays |= table("lines", key, document=np.repeat(number, lengths)[row].astype(np.uint32), line=line)
        documents, size = int((part == 0).sum()), int(sizes[-1].sum())
        return arrays, Result(documents=documents, bytes=size, read=read, counts=self.counts, fragments=fragments)

    def _fragment(self, piece: int, rows: range, number: Array, last: Array, found: Judgement) -> Fragment:
        signature = b""
        if self._signed and np.concatenate(self._worded)[rows.start : rows.stop].any():
            signature = np.minimum.reduce([self._long[row] for row in rows]).tobytes()
        return Fragment(
            document=int(number[piece]),
            ends=bool(last[rows[-1]]),
            sizes=found.sizes[:, piece].tolist(),
            touched=found.touched[:, piece].tolist(),
            measures=[(int(a), int(b)) for a, b in found.measures[:, :, piece]],
            digests=bytes(self._digests[16 * rows.start : 16 * rows.stop]) if self._digested else b"",
            signature=signature,
        )

    def _by_content(
        self, settled: Array, firsts: Array, lengths: Array, number: Array, sizes: Array
    ) -> dict[str, Array]:
        """Digests, and keys for the split, of documents that are whole and stay."""
        document = number[settled].astype(np.uint32)
        rows = np.frombuffer(bytes(self._digests), "<u8").reshape(-1, 2)
        halves = rows[firsts[settled]]
        for at in np.flatnonzero(lengths[settled] > 1).tolist():
            first, length = int(firsts[settled[at]]), int(lengths[settled[at]])
            halves[at] = np.frombuffer(document_digest([row.tobytes() for row in rows[first : first + length]]), "<u8")
        arrays = table("digest", halves[:, 0].copy(), more=halves[:, 1].copy(), document=document)
        if self._phase.last:
            keys = (split_key(self._recipe.seed, digest.tobytes()) for digest in halves)
            key = np.fromiter(keys, np.uint64, len(halves))
            arrays |= table("split", key, size=sizes[settled].astype(np.uint64), document=document)
        return arrays

    def _by_signature(self, settled: Array, firsts: Array, lengths: Array, number: Array) -> dict[str, Array]:
        """Signatures, and keys of their bands, of documents that are whole and stay."""
        document = number[settled].astype(np.uint32)
        short, worded = np.concatenate(self._short)[firsts[settled]], np.concatenate(self._worded)[firsts[settled]]
        for at in np.flatnonzero(lengths[settled] > 1).tolist():
            rows = range(int(firsts[settled[at]]), int(firsts[settled[at]] + lengths[settled[at]]))
            short[at] = minhash.short(np.minimum.reduce([self._long[row] for row in rows]))
            worded[at] = np.concatenate(self._worded)[rows.start : rows.stop].any()
        keys = minhash.band_keys(short[worded], self._recipe.similarity)
        arrays = table("near", keys.ravel(), document=np.repeat(document[worded], keys.shape[1]))
        stored = np.zeros((int(number.max(initial=0)) + 1, minhash.NUMBERS), np.uint16)
        stored[document] = short
        arrays["signature"] = stored
        return arrays


def document_digest(parts: list[bytes]) -> bytes:
    """16 bytes for a document from those of its parts, which are cut at the same places in copies."""
    return parts[0] if len(parts) == 1 else blake2b(b"".join(parts), digest_size=16).digest()
