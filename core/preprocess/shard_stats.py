"""Statistics of the cleaned rows of a shard, collected row by row, and the tables made of them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from core.preprocess import line_windows, minhash
from core.preprocess.apply_filters import DocumentEffects, apply_filters
from core.preprocess.phases import Phase
from core.preprocess.shard_index import Array, DocumentFragment, ShardResult, sorted_table
from core.preprocess.split import split_key
from core.recipe.schema import Preprocess


class ShardStatistics:
    """Collects digests, signatures and line hashes of the rows of a shard, for de-duplication and the split."""

    def __init__(self, phase: Phase, recipe: Preprocess, steps: Sequence[int]) -> None:
        self._phase, self._recipe, self._steps = phase, recipe, steps
        dedup_steps = {recipe.steps[index] for index in phase.dedup_steps}
        self._collects_digests = "duplicates" in dedup_steps or phase.last
        self._collects_signatures = "near_duplicates" in dedup_steps
        self._collects_lines = phase.next_reshape == "duplicate_lines"
        self.counts: dict[int, list[int]] = {index: [0, 0, 0] for index in steps}
        """By step: documents changed, documents removed, bytes removed."""
        # each list starts with an empty array, so that an empty shard is no special case; 32 bits are enough for the
        # values of one shard, which may have a million rows
        self._sizes: list[Array] = [np.zeros((len(steps) + 1, 0), np.int32)]
        self._touched: list[Array] = [np.zeros((len(steps), 0), np.bool_)]
        self._measures: list[Array] = [np.zeros((len(steps), 2, 0), np.int32)]
        self._parts: list[Array] = [np.zeros(0, np.int32)]
        self._last_flags = [np.zeros(0, np.bool_)]
        self._characters: list[Array] = [np.zeros(0, np.int32)]
        self._short = [np.zeros((0, minhash.SIGNATURE_SIZE), np.uint16)]
        self._has_words = [np.zeros(0, np.bool_)]
        self._digests = bytearray()
        """16 bytes per row."""
        self._hashes: list[NDArray[np.uint64]] = []
        self._long: dict[int, NDArray[np.uint32]] = {}
        """32-bit signatures of rows that are parts of longer documents, by row."""
        self._rows = 0

    def add(
        self,
        texts: list[str],
        part: Array,
        last: NDArray[np.bool_],
        characters: Array,
        found: tuple[Array, Array, Array],
    ) -> None:
        """Add cleaned rows. found: the fields of `DocumentEffects`, per row instead of per document."""
        for collected, values in zip((self._sizes, self._touched, self._measures), found, strict=True):
            collected.append(values)
        self._parts.append(part)
        self._last_flags.append(last)
        self._characters.append(characters)
        if self._collects_digests:
            self._digests += b"".join(blake2b(text.encode(), digest_size=16).digest() for text in texts)
        if self._collects_lines:
            self._hashes += map(line_windows.hashes_of_long_lines, texts)
        if self._collects_signatures:
            made, worded = minhash.minhash_signatures(texts)
            self._short.append(minhash.short_signatures(made))
            self._has_words.append(worded)
            self._long |= {self._rows + int(at): made[at].copy() for at in np.flatnonzero((part > 0) | ~last)}
        self._rows += len(texts)

    def tables(self, read: tuple[int, int, int]) -> tuple[dict[str, Array], ShardResult]:
        """Apply the filters to the documents that are whole in this shard, and make tables of those that stay.

        read: documents, bytes and characters read.
        """
        part, last = np.concatenate(self._parts), np.concatenate(self._last_flags)
        sizes = np.concatenate(self._sizes, axis=1)
        firsts = np.flatnonzero((part == 0) | (np.arange(len(part)) == 0))
        lengths = np.diff(np.append(firsts, len(part)))
        whole = (part[firsts] == 0) & last[firsts + lengths - 1]
        number = np.cumsum(part[firsts] == 0)
        # single rows need no sum, and reduceat accepts no empty arrays
        single = len(firsts) == len(part)
        touched, measures = np.concatenate(self._touched, axis=1), np.concatenate(self._measures, axis=2)
        self._sizes, self._touched, self._measures = [], [], []
        found = DocumentEffects(
            sizes if single else np.add.reduceat(sizes, firsts, axis=1),
            touched if single else np.logical_or.reduceat(touched, firsts, axis=1),
            measures if single else np.add.reduceat(measures, firsts, axis=2),
        )
        removed = apply_filters(self._steps, self._recipe, found, whole, self.counts)
        fragments = [
            self._document_fragment(
                piece, range(int(firsts[piece]), int(firsts[piece] + lengths[piece])), number, last, found
            )
            for piece in np.flatnonzero(~whole).tolist()
        ]
        arrays = {
            "row.size": sizes[-1].astype(np.uint32),
            "row.characters": np.concatenate(self._characters).astype(np.uint32),
            "row.part": part.astype(np.int32),
            "gone": number[removed].astype(np.uint32),
        }
        settled = np.flatnonzero(whole & ~removed)
        if self._collects_digests:
            arrays |= self._digest_tables(settled, firsts, lengths, number, found.sizes[-1])
        if self._collects_signatures:
            arrays |= self._signature_tables(settled, firsts, lengths, number)
        if self._collects_lines:
            arrays["row.lines"] = np.array([len(row) for row in self._hashes], np.uint32)
            key, line, row = line_windows.line_windows(self._hashes, self._recipe.window)
            arrays |= sorted_table("lines", key, document=np.repeat(number, lengths)[row].astype(np.uint32), line=line)
        documents, size = int((part == 0).sum()), int(sizes[-1].sum())
        return arrays, ShardResult(documents=documents, bytes=size, read=read, counts=self.counts, fragments=fragments)

    def _document_fragment(
        self, piece: int, rows: range, number: Array, last: Array, found: DocumentEffects
    ) -> DocumentFragment:
        signature = b""
        if self._collects_signatures and np.concatenate(self._has_words)[rows.start : rows.stop].any():
            signature = np.minimum.reduce([self._long[row] for row in rows]).tobytes()
        return DocumentFragment(
            document=int(number[piece]),
            ends=bool(last[rows[-1]]),
            sizes=found.sizes[:, piece].tolist(),
            touched=found.touched[:, piece].tolist(),
            measures=[(int(a), int(b)) for a, b in found.measures[:, :, piece]],
            digests=bytes(self._digests[16 * rows.start : 16 * rows.stop]) if self._collects_digests else b"",
            signature=signature,
        )

    def _digest_tables(
        self, settled: Array, firsts: Array, lengths: Array, number: Array, sizes: Array
    ) -> dict[str, Array]:
        """Tables of digests, and of split keys in the last phase, of the whole documents that stay."""
        document = number[settled].astype(np.uint32)
        rows = np.frombuffer(bytes(self._digests), "<u8").reshape(-1, 2)
        halves = rows[firsts[settled]]
        for at in np.flatnonzero(lengths[settled] > 1).tolist():
            first, length = int(firsts[settled[at]]), int(lengths[settled[at]])
            halves[at] = np.frombuffer(document_digest([row.tobytes() for row in rows[first : first + length]]), "<u8")
        arrays = sorted_table("digest", halves[:, 0].copy(), more=halves[:, 1].copy(), document=document)
        if self._phase.last:
            keys = (split_key(self._recipe.seed, digest.tobytes()) for digest in halves)
            key = np.fromiter(keys, np.uint64, len(halves))
            arrays |= sorted_table("split", key, size=sizes[settled].astype(np.uint64), document=document)
        return arrays

    def _signature_tables(self, settled: Array, firsts: Array, lengths: Array, number: Array) -> dict[str, Array]:
        """Signatures, and table of their band keys, of the whole documents that stay."""
        document = number[settled].astype(np.uint32)
        short_signatures, worded = (
            np.concatenate(self._short)[firsts[settled]],
            np.concatenate(self._has_words)[firsts[settled]],
        )
        for at in np.flatnonzero(lengths[settled] > 1).tolist():
            rows = range(int(firsts[settled[at]]), int(firsts[settled[at]] + lengths[settled[at]]))
            short_signatures[at] = minhash.short_signatures(np.minimum.reduce([self._long[row] for row in rows]))
            worded[at] = np.concatenate(self._has_words)[rows.start : rows.stop].any()
        keys = minhash.band_keys(short_signatures[worded], self._recipe.similarity)
        arrays = sorted_table("near", keys.ravel(), document=np.repeat(document[worded], keys.shape[1]))
        stored = np.zeros((int(number.max(initial=0)) + 1, minhash.SIGNATURE_SIZE), np.uint16)
        stored[document] = short_signatures
        arrays["signature"] = stored
        return arrays


def document_digest(parts: list[bytes]) -> bytes:
    """16-byte digest of a document from those of its parts, which are cut at the same positions in copies."""
    return parts[0] if len(parts) == 1 else blake2b(b"".join(parts), digest_size=16).digest()
