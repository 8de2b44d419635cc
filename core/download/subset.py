"""Selects part of a corpus: its beginning, or a random sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.download.batches import EMPTY_BATCH, truncate_utf8
from core.download.discover import NoTextError
from core.errors import LlmtuiError
from core.events import Progress
from core.plural import plural
from core.recipe.schema import Source
from core.sources.catalog import redact_url
from core.storage.artifact import Facts
from core.storage.documents import SCHEMA

_PREFIX = "limit_"


class SubsetError(LlmtuiError):
    """This source cannot be sampled."""

    doing = "sample the source"


class SubsetSelector:
    """Selects documents until the recipe's limits are reached; its state is resumable.

    take="first": the documents in their order as long as they fit; the first that does not ends it. The very first
    one, and one of more than 4 MiB whose beginning fits, is cut at the last line end that fits.

    take="sample": each document is taken with the probability (remaining limit) / (remaining source),
    decided by a hash of the seed and its number, so that the sample is spread evenly and comes out at the size that
    was asked for. What is to come is reckoned from the share of the source that has been read. A document that no
    longer fits is left out, one of more than 4 MiB whose beginning fits is cut.
    """

    def __init__(self, recipe: Source, facts: Facts) -> None:
        """facts: those of an earlier attempt; what `facts` put there is taken out."""
        mine = {name: facts.pop(name) for name in list(facts) if name.startswith(_PREFIX)}
        self._recipe = recipe
        self._limited = recipe.max_bytes is not None or recipe.max_documents is not None
        self._seen_documents = int(mine.get("limit_seen_documents", 0))
        self._seen_bytes = int(mine.get("limit_seen_bytes", 0))
        self._taking = bool(mine.get("limit_taking", 0))
        self.full = bool(mine.get("limit_full", 0))
        """Whether a limit has been reached."""

    def facts(self) -> Facts:
        """The state that the next attempt needs."""
        if not self._limited:
            return {}
        return {
            "limit_seen_documents": self._seen_documents,
            "limit_seen_bytes": self._seen_bytes,
            "limit_taking": int(self._taking),
            "limit_full": int(self.full),
        }

    def take(self, batch: Any, documents: int, size: int, done: float, total: float | None) -> Any:
        """The selected rows of `batch`, possibly none.

        documents, size: selected before, size in bytes of text. done, total: progress of the source after `batch`.
        Raises SubsetError.
        """
        if not self._limited or not batch.num_rows:
            return batch
        starts = np.asarray(batch["part"]) == 0
        lengths = np.asarray(pc.binary_length(batch["text"]), dtype=np.int64)
        if self._recipe.take == "first":
            return self._first(batch, starts, lengths, documents, size)
        return self._sample(batch, starts, lengths, documents, size, done, total)

    def progress(self, now: Progress, documents: int, size: int) -> Progress:
        """`now`, with the total that the limits leave: what will have been read of the source when they are reached."""
        if not self._limited or self._recipe.take == "sample":
            return now
        if self.full:
            return Progress(done=now.done, total=now.done, unit=now.unit)
        share = max(
            size / self._recipe.max_bytes if self._recipe.max_bytes else 0.0,
            documents / self._recipe.max_documents if self._recipe.max_documents else 0.0,
        )
        expected = now.done / share if share > 0 else None
        if expected is None or (now.total is not None and now.total < expected):
            return now
        return Progress(done=now.done, total=expected, unit=now.unit)

    def nothing(self, corpus: str) -> LlmtuiError:
        """The error when no document was selected."""
        if self._seen_documents:
            return SubsetError(
                f"none of its {plural(self._seen_documents, 'document')} came out within the limits",
                where=redact_url(corpus),
                todo="raise source.max_bytes, or take its beginning: --set source.take=first",
            )
        return NoTextError("there is not one document in it", where=redact_url(corpus))

    def _left(self, documents: int, size: int) -> tuple[float, float]:
        """Documents and bytes until the limits are reached."""
        most_documents, most_bytes = self._recipe.max_documents, self._recipe.max_bytes
        return (
            float("inf") if most_documents is None else most_documents - documents,
            float("inf") if most_bytes is None else most_bytes - size,
        )

    def _first(self, batch: Any, starts: Any, lengths: Any, documents: int, size: int) -> Any:
        documents_left, bytes_left = self._left(documents, size)
        many = int(np.searchsorted(np.cumsum(starts), documents_left, "right"))
        fits = int(np.searchsorted(np.cumsum(lengths), bytes_left, "right"))
        keep = min(many, fits)
        if keep == batch.num_rows:
            return batch
        self.full = True
        rows = batch.slice(0, keep)
        very_first = documents == 0 and keep == 0
        if keep < many and (very_first or not starts[keep]):
            end = self._shortened(batch, keep, int(bytes_left - lengths[:keep].sum()))
            return _joined([rows, end])
        return rows

    def _sample(
        self, batch: Any, starts: Any, lengths: Any, documents: int, size: int, done: float, total: float | None
    ) -> Any:
        if total is None:
            raise SubsetError("the size of this source is unknown", todo="take its beginning: --set source.take=first")
        numbers = self._seen_documents - 1 + np.cumsum(starts)
        self._seen_documents += int(starts.sum())
        self._seen_bytes += int(lengths.sum())
        # as much text in what is unread as there was in what is read
        unread = max(0.0, total - done) / max(1.0, done)
        left = self._left(documents, size)
        coming = (starts.sum() + unread * self._seen_documents, lengths.sum() + unread * self._seen_bytes)
        chance = min(1.0, *(want / max(1.0, have) for want, have in zip(left, coming, strict=True)))
        chosen = _uniform(self._recipe.seed, numbers) < chance
        # the parts of a document are selected together, also across batches
        in_current = numbers < self._seen_documents - int(starts.sum())
        chosen = np.where(in_current, self._taking, chosen)
        self._taking = bool(chosen[-1])
        if lengths[chosen].sum() <= left[1] and (chosen & starts).sum() <= left[0]:
            return batch.filter(pa.array(chosen))
        return self._fitting(batch, starts, lengths, chosen, *left)

    def _fitting(self, batch: Any, starts: Any, lengths: Any, chosen: Any, documents: float, size: float) -> Any:
        """Those of the chosen rows that fit, in order."""
        rows = []
        taking = True
        for index in map(int, np.flatnonzero(chosen)):
            if starts[index]:
                taking = documents >= 1 and lengths[index] <= size
                documents -= taking
            if not taking:
                continue
            taking = lengths[index] <= size
            rows.append(batch.slice(index, 1) if taking else self._shortened(batch, index, int(size)))
            size -= int(lengths[index])
        self._taking = self._taking and taking
        return _joined(rows)

    def _shortened(self, batch: Any, row: int, max_bytes: int) -> Any:
        """One row whose text is cut to at most `max_bytes` bytes; no row if nothing is left of it."""
        text = truncate_utf8(batch["text"][row].as_buffer().to_pybytes()[: max(0, max_bytes)])
        if not text:
            return EMPTY_BATCH
        columns = [batch["name"].slice(row, 1), batch["part"].slice(row, 1), pa.array([text.decode()])]
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _joined(batches: list[Any]) -> Any:
    rows = pa.Table.from_batches(batches, schema=SCHEMA).combine_chunks().to_batches()
    return rows[0] if rows else EMPTY_BATCH


def _uniform(seed: int, numbers: Any) -> Any:
    """A number from 0 to 1 for each of `numbers`, (N,) integers: the mix of SplitMix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2**53
