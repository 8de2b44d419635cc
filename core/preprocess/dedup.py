"""De-duplication over the whole corpus: exact and near duplicates of documents, repeated lines."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.events import TextSize
from core.preprocess import minhash
from core.preprocess.minhash import SIGNATURE_SIZE
from core.preprocess.phase_result import PhaseResult
from core.preprocess.shard_index import Array, key_buckets, keys_in_bucket, position, read_column, table_slices
from core.preprocess.split import Split, choose_split
from core.storage.artifact import Staging

_PAIRS_AT_ONCE = 50_000
_IN_SHARD = 8
"""Maximum documents of one shard with the same band key that are compared with those of other shards."""


def mark_duplicates(phase_result: PhaseResult) -> Generator[None, None, None]:
    """Run the de-duplication steps of a phase: set `PhaseResult.removed`. Yields None from time to time."""
    for index in phase_result.phase.dedup_steps:
        near = phase_result.recipe.steps[index] == "near_duplicates"
        yield from _near_duplicates(phase_result, index) if near else _duplicates(phase_result, index)


def _duplicates(phase_result: PhaseResult, index: int) -> Iterator[None]:
    """Remove all but the first of documents with the same text, compared by a 128-bit digest."""
    step_number = index + 1
    for bucket in key_buckets(phase_result.records("digest") + len(phase_result.spanning)):
        keys, mores, positions = [list[Array]() for _ in range(3)]
        for shard, (key, more, document) in table_slices(
            phase_result.keys, "digest", ["key", "more", "document"], bucket
        ):
            at = phase_result.index(shard, document)
            remaining = phase_result.removed[at] == 0
            key, more, document, at = key[remaining], more[remaining], document[remaining], at[remaining]
            # duplicates within a shard are removed first: a frequent text takes no memory here
            again = _equals_previous(key, more)
            phase_result.removed[at[again]] = step_number
            for held, values in zip((keys, mores, positions), (key, more, position(shard, document)), strict=True):
                held.append(values[~again])
        if phase_result.spanning:
            key, more, at_position = phase_result.spanning_keys()
            inside = keys_in_bucket(key, bucket)
            for held, values in zip((keys, mores, positions), (key, more, at_position), strict=True):
                held.append(values[inside])
        if keys:
            key, more, at_position = (np.concatenate(held) for held in (keys, mores, positions))
            order = np.lexsort((at_position, more, key))
            later = order[_equals_previous(key[order], more[order])]
            phase_result.removed[_document_indices(phase_result, at_position[later])] = step_number
        yield


def _equals_previous(*columns: Array) -> NDArray[np.bool_]:
    """(rows,) which rows of sorted columns equal the row before."""
    same = np.ones(len(columns[0]), np.bool_)
    same[:1] = False
    for values in columns:
        same[1:] &= values[1:] == values[:-1]
    return same


def _document_indices(phase_result: PhaseResult, positions: Array) -> Array:
    """Indices in the corpus of documents, given their positions."""
    shard = (positions >> np.uint64(32)).astype(np.int64)
    return phase_result.base[shard] + (positions & np.uint64(0xFFFFFFFF)).astype(np.int64) - 1


def _near_duplicates(phase_result: PhaseResult, index: int) -> Iterator[None]:
    """Remove each document whose estimated similarity to an earlier one, removed or not, is at least the recipe's.

    Documents that share a band of their signatures are compared: each with the first and the previous one of the same
    shard, and the first `_IN_SHARD` of each shard with those of other shards.
    """
    similarity = phase_result.recipe.similarity
    settled = phase_result.removed != 0
    spanning = {document.position: document for document in phase_result.spanning if document.signature}
    short_signatures = np.frombuffer(b"".join(document.signature for document in spanning.values()), np.uint16)
    spanning_keys = minhash.band_keys(short_signatures.reshape(-1, SIGNATURE_SIZE), similarity)
    spanning_positions = np.repeat(np.array(list(spanning), np.uint64), spanning_keys.shape[1])
    bands = spanning_keys.ravel()
    for bucket in key_buckets(phase_result.records("near") + len(bands)):
        keys, positions = [list[Array]() for _ in range(2)]
        pairs: list[Array] = []
        for shard, (key, document) in table_slices(phase_result.keys, "near", ["key", "document"], bucket):
            remaining = ~settled[phase_result.index(shard, document)]
            key, at_position = key[remaining], position(shard, document[remaining])
            rank = _rank(key)
            pairs.append(_candidate_pairs(key, at_position, rank))
            keys.append(key[rank < _IN_SHARD])
            positions.append(at_position[rank < _IN_SHARD])
        inside = keys_in_bucket(bands, bucket) & ~settled[_document_indices(phase_result, spanning_positions)]
        keys.append(bands[inside])
        positions.append(spanning_positions[inside])
        key, at_position = np.concatenate(keys), np.concatenate(positions)
        order = np.lexsort((at_position, key))
        pairs.append(_candidate_pairs(key[order], at_position[order], _rank(key[order])))
        candidates = np.unique(np.concatenate(pairs), axis=0)
        for start in range(0, len(candidates), _PAIRS_AT_ONCE):
            block = candidates[start : start + _PAIRS_AT_ONCE]
            block = block[phase_result.removed[_document_indices(phase_result, block[:, 1])] == 0]
            first, later = (_signatures(phase_result, block[:, side]) for side in (0, 1))
            alike = (first == later).mean(axis=1) >= similarity
            phase_result.removed[_document_indices(phase_result, block[alike, 1])] = index + 1
            yield
        yield


def _rank(key: Array) -> Array:
    """(rows,) for each row of a sorted column, the number of earlier rows with the same key."""
    at = np.arange(len(key))
    first = np.maximum.accumulate(np.where(_equals_previous(key), 0, at)) if len(key) else at
    return at - first


def _candidate_pairs(key: Array, positions: Array, rank: Array) -> Array:
    """(pairs, 2) each position with the first and with the previous one that has the same key."""
    at = np.flatnonzero(rank > 0)
    first = np.stack([positions[at - rank[at]], positions[at]], axis=1)
    far = at[rank[at] > 1]
    return np.concatenate([first, np.stack([positions[far - 1], positions[far]], axis=1)])


def _signatures(phase_result: PhaseResult, positions: Array) -> NDArray[np.uint16]:
    """(positions, 128) the short signatures of documents."""
    from safetensors import safe_open

    made = np.zeros((len(positions), SIGNATURE_SIZE), np.uint16)
    spanning = {document.position: document.signature for document in phase_result.spanning}
    shards = (positions >> np.uint64(32)).astype(np.int64)
    for shard in np.unique(shards).tolist():
        with safe_open(str(phase_result.keys[shard]), framework="np") as file:
            stored = file.get_slice("signature")
            for at in np.flatnonzero(shards == shard).tolist():
                known = spanning.get(int(positions[at]))
                row = int(positions[at] & np.uint64(0xFFFFFFFF))
                made[at] = stored[row : row + 1][0] if known is None else np.frombuffer(known, np.uint16)
    return made


def find_repeated_lines(phase_result: PhaseResult, out: Staging) -> Generator[Path | None, None, None]:
    """Yields files with the sorted positions of line windows that occurred before, and None from time to time."""
    window = np.uint64(phase_result.recipe.window)
    for number, bucket in enumerate(key_buckets(phase_result.records("lines"))):
        name = f"{phase_result.phase.number}-lines-{number:05d}.npy"
        if name not in out.published:
            keys, positions, repeated_windows = [list[Array]() for _ in range(3)]
            for shard, (key, document, line) in table_slices(
                phase_result.keys, "lines", ["key", "document", "line"], bucket
            ):
                remaining = phase_result.removed[phase_result.index(shard, document)] == 0
                key, at_position = key[remaining], position(shard, line[remaining])
                first = at_position[np.arange(len(key)) - _rank(key)]
                # overlapping windows are not repetitions: a rule of one repeated line keeps its first lines
                again = at_position >= first + window
                repeated_windows.append(at_position[again])
                keys.append(key[~again])
                positions.append(at_position[~again])
                yield None
            key, at_position = (np.concatenate([*held, np.zeros(0, np.uint64)]) for held in (keys, positions))
            order = np.lexsort((at_position, key))
            key, at_position = key[order], at_position[order]
            first = at_position[np.arange(len(key)) - _rank(key)]
            repeated_windows.append(at_position[at_position >= first + window])
            out.publish(name, partial(_save, array=np.sort(np.concatenate(repeated_windows))))
        yield out.path / name


def _save(path: Path, array: Array) -> None:
    with path.open("wb") as file:
        np.save(file, array)


class RemainingText:
    """Counts of each step and size of the text that remains after a phase."""

    def __init__(self, phase_result: PhaseResult) -> None:
        self.counts = {index: list(numbers) for index, numbers in phase_result.counts.items()}
        documents = size = characters = 0
        lengths = np.zeros(64, np.int64)
        carried = 0
        for index in phase_result.phase.dedup_steps:
            self.counts[index] = [0, 0, 0]
        for shard, path in enumerate(phase_result.keys):
            part, sizes, length = (read_column(path, f"row.{name}") for name in ("part", "size", "characters"))
            number = np.cumsum(part == 0)
            marks = phase_result.removed_in_shard(shard)[number]
            for index in phase_result.phase.dedup_steps:
                taken = marks == index + 1
                self.counts[index][1] += int((taken & (part == 0)).sum())
                self.counts[index][2] += int(sizes[taken].sum())
            stays = marks == 0
            documents += int((stays & (part == 0)).sum())
            size += int(sizes[stays].sum())
            characters += int(length[stays].sum())
            of_document = np.bincount(number, np.where(stays, length, 0), phase_result.results[shard].documents + 1)
            remaining = phase_result.removed_in_shard(shard) == 0
            of_document[0] += carried
            carried = int(of_document[-1])
            # the last document may continue in the next shard
            lengths += _histogram(of_document[:-1][remaining[:-1]])
        lengths += _histogram(np.array([carried]))
        self.left = TextSize(documents=documents, bytes=size, characters=characters)
        self.lengths = tuple(np.trim_zeros(lengths, "b").tolist())


def _histogram(lengths: Array) -> Array:
    """(64,) histogram of the lengths by floor(log2(length)); lengths of 0 are ignored."""
    exponents = np.frexp(lengths[lengths > 0].astype(np.float64))[1] - 1
    return np.bincount(exponents, minlength=64)


def split_documents(phase_result: PhaseResult, left: TextSize) -> Split:
    """Choose the documents of the last phase to hold out. Raises CorpusTooSmallError if there are too few."""
    return choose_split(phase_result.recipe, left, _content_keys(phase_result))


def _content_keys(phase_result: PhaseResult) -> Iterator[tuple[Array, Array]]:
    """Split keys and sizes of the distinct texts that stay, in ascending order of keys."""
    for bucket in key_buckets(phase_result.records("split") + len(phase_result.spanning)):
        keys, sizes = [list[Array]() for _ in range(2)]
        for shard, (key, size, document) in table_slices(
            phase_result.keys, "split", ["key", "size", "document"], bucket
        ):
            remaining = phase_result.removed[phase_result.index(shard, document)] == 0
            key, size = _sum_by_key(key[remaining], size[remaining])
            keys.append(key)
            sizes.append(size)
        if phase_result.spanning:
            key, size, at_position = phase_result.spanning_split_keys()
            inside = keys_in_bucket(key, bucket) & (
                phase_result.removed[_document_indices(phase_result, at_position)] == 0
            )
            keys.append(key[inside])
            sizes.append(size[inside])
        if keys:
            yield _sum_by_key(np.concatenate(keys), np.concatenate(sizes))


def _sum_by_key(key: Array, size: Array) -> tuple[Array, Array]:
    contents, content_of = np.unique(key, return_inverse=True)
    return contents, np.bincount(content_of, size, len(contents)).astype(np.uint64)
