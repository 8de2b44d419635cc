"""Steps that need to know the whole corpus: which documents and lines stood before, or something much like them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.events import TextSize
from core.preprocess import minhash
from core.preprocess.minhash import NUMBERS
from core.preprocess.phase_runner import Round
from core.preprocess.shard_index import Array, buckets, column, in_bucket, place, slices
from core.preprocess.split import Split, choose
from core.storage.artifact import Staging

_PAIRS_AT_ONCE = 50_000
_IN_SHARD = 8
"""Documents of one shard under one band key that are compared with those of other shards."""


def resolve(found: Round) -> Generator[None, None, None]:
    """Mark the documents that the closing steps of a phase take away; pauses now and then."""
    for index in found.phase.closers:
        near = found.recipe.steps[index] == "near_duplicates"
        yield from _near_duplicates(found, index) if near else _duplicates(found, index)


def _duplicates(found: Round, index: int) -> Iterator[None]:
    """Every document but the first of those with the same text, compared by a 128-bit digest."""
    mark = index + 1
    for bucket in buckets(found.records("digest") + len(found.spanned)):
        keys, mores, places = [list[Array]() for _ in range(3)]
        for shard, (key, more, document) in slices(found.keys, "digest", ["key", "more", "document"], bucket):
            at = found.index(shard, document)
            alive = found.gone[at] == 0
            key, more, document, at = key[alive], more[alive], document[alive], at[alive]
            # what is there twice in one shard is settled at once: a text that is everywhere takes no room here
            again = _again(key, more)
            found.gone[at[again]] = mark
            for held, values in zip((keys, mores, places), (key, more, place(shard, document)), strict=True):
                held.append(values[~again])
        if found.spanned:
            key, more, at_place = found.spanned_keys()
            inside = in_bucket(key, bucket)
            for held, values in zip((keys, mores, places), (key, more, at_place), strict=True):
                held.append(values[inside])
        if keys:
            key, more, at_place = (np.concatenate(held) for held in (keys, mores, places))
            order = np.lexsort((at_place, more, key))
            later = order[_again(key[order], more[order])]
            found.gone[_index(found, at_place[later])] = mark
        yield


def _again(*columns: Array) -> NDArray[np.bool_]:
    """Which rows of sorted columns are as the row before."""
    same = np.ones(len(columns[0]), np.bool_)
    same[:1] = False
    for values in columns:
        same[1:] &= values[1:] == values[:-1]
    return same


def _index(found: Round, places: Array) -> Array:
    """Numbers in the corpus of documents by their places."""
    shard = (places >> np.uint64(32)).astype(np.int64)
    return found.base[shard] + (places & np.uint64(0xFFFFFFFF)).astype(np.int64) - 1


def _near_duplicates(found: Round, index: int) -> Iterator[None]:
    """Every document that is estimated to be as similar as the recipe says to one before it, that one kept or not.

    Compared are documents that share a band of their signatures: each with the first that has the band and with the
    one before it, within a shard, and then the first few of each shard with those of others.
    """
    similarity = found.recipe.similarity
    settled = found.gone != 0
    spanned = {document.place: document for document in found.spanned if document.signature}
    short = np.frombuffer(b"".join(document.signature for document in spanned.values()), np.uint16)
    spanned_keys = minhash.band_keys(short.reshape(-1, NUMBERS), similarity)
    spanned_places = np.repeat(np.array(list(spanned), np.uint64), spanned_keys.shape[1])
    bands = spanned_keys.ravel()
    for bucket in buckets(found.records("near") + len(bands)):
        keys, places = [list[Array]() for _ in range(2)]
        pairs: list[Array] = []
        for shard, (key, document) in slices(found.keys, "near", ["key", "document"], bucket):
            alive = ~settled[found.index(shard, document)]
            key, at_place = key[alive], place(shard, document[alive])
            rank = _rank(key)
            pairs.append(_pairs(key, at_place, rank))
            keys.append(key[rank < _IN_SHARD])
            places.append(at_place[rank < _IN_SHARD])
        inside = in_bucket(bands, bucket) & ~settled[_index(found, spanned_places)]
        keys.append(bands[inside])
        places.append(spanned_places[inside])
        key, at_place = np.concatenate(keys), np.concatenate(places)
        order = np.lexsort((at_place, key))
        pairs.append(_pairs(key[order], at_place[order], _rank(key[order])))
        candidates = np.unique(np.concatenate(pairs), axis=0)
        for start in range(0, len(candidates), _PAIRS_AT_ONCE):
            piece = candidates[start : start + _PAIRS_AT_ONCE]
            piece = piece[found.gone[_index(found, piece[:, 1])] == 0]
            first, later = (_signatures(found, piece[:, side]) for side in (0, 1))
            alike = (first == later).mean(axis=1) >= similarity
            found.gone[_index(found, piece[alike, 1])] = index + 1
            yield
        yield


def _rank(key: Array) -> Array:
    """Of each row of a sorted column, how many before it have the same key."""
    at = np.arange(len(key))
    first = np.maximum.accumulate(np.where(_again(key), 0, at)) if len(key) else at
    return at - first


def _pairs(key: Array, places: Array, rank: Array) -> Array:
    """(pairs, 2) each place under a key with the first under it, and with the one before."""
    at = np.flatnonzero(rank > 0)
    first = np.stack([places[at - rank[at]], places[at]], axis=1)
    far = at[rank[at] > 1]
    return np.concatenate([first, np.stack([places[far - 1], places[far]], axis=1)])


def _signatures(found: Round, places: Array) -> NDArray[np.uint16]:
    """(places, 128) the short signatures of documents."""
    from safetensors import safe_open

    made = np.zeros((len(places), NUMBERS), np.uint16)
    spanned = {document.place: document.signature for document in found.spanned}
    shards = (places >> np.uint64(32)).astype(np.int64)
    for shard in np.unique(shards).tolist():
        with safe_open(str(found.keys[shard]), framework="np") as file:
            stored = file.get_slice("signature")
            for at in np.flatnonzero(shards == shard).tolist():
                known = spanned.get(int(places[at]))
                row = int(places[at] & np.uint64(0xFFFFFFFF))
                made[at] = stored[row : row + 1][0] if known is None else np.frombuffer(known, np.uint16)
    return made


def repeated_lines(found: Round, out: Staging) -> Generator[Path | None, None, None]:
    """Files with the places of windows of lines that stood before, in sorted order; None while at it."""
    window = np.uint64(found.recipe.window)
    for number, bucket in enumerate(buckets(found.records("lines"))):
        name = f"{found.phase.number}-lines-{number:05d}.npy"
        if name not in out.published:
            keys, places, condemned = [list[Array]() for _ in range(3)]
            for shard, (key, document, line) in slices(found.keys, "lines", ["key", "document", "line"], bucket):
                alive = found.gone[found.index(shard, document)] == 0
                key, at_place = key[alive], place(shard, line[alive])
                first = at_place[np.arange(len(key)) - _rank(key)]
                # a window does not stand before itself: a rule of one repeated line keeps its first lines
                again = at_place >= first + window
                condemned.append(at_place[again])
                keys.append(key[~again])
                places.append(at_place[~again])
                yield None
            key, at_place = (np.concatenate([*held, np.zeros(0, np.uint64)]) for held in (keys, places))
            order = np.lexsort((at_place, key))
            key, at_place = key[order], at_place[order]
            first = at_place[np.arange(len(key)) - _rank(key)]
            condemned.append(at_place[at_place >= first + window])
            out.publish(name, partial(_save, array=np.sort(np.concatenate(condemned))))
        yield out.path / name


def _save(path: Path, array: Array) -> None:
    with path.open("wb") as file:
        np.save(file, array)


class Stock:
    """What is left behind a phase, when its closing steps are done."""

    def __init__(self, found: Round) -> None:
        self.counts = {index: list(numbers) for index, numbers in found.counts.items()}
        documents = size = characters = 0
        lengths = np.zeros(64, np.int64)
        carried = 0
        for index in found.phase.closers:
            self.counts[index] = [0, 0, 0]
        for shard, path in enumerate(found.keys):
            part, sizes, length = (column(path, f"row.{name}") for name in ("part", "size", "characters"))
            number = np.cumsum(part == 0)
            marks = found.mark(shard)[number]
            for index in found.phase.closers:
                taken = marks == index + 1
                self.counts[index][1] += int((taken & (part == 0)).sum())
                self.counts[index][2] += int(sizes[taken].sum())
            stays = marks == 0
            documents += int((stays & (part == 0)).sum())
            size += int(sizes[stays].sum())
            characters += int(length[stays].sum())
            of_document = np.bincount(number, np.where(stays, length, 0), found.results[shard].documents + 1)
            alive = found.mark(shard) == 0
            of_document[0] += carried
            carried = int(of_document[-1])
            # the last may go on in the next shard
            lengths += _histogram(of_document[:-1][alive[:-1]])
        lengths += _histogram(np.array([carried]))
        self.left = TextSize(documents=documents, bytes=size, characters=characters)
        self.lengths = tuple(np.trim_zeros(lengths, "b").tolist())


def _histogram(lengths: Array) -> Array:
    """(64,) how many of the lengths, 0 left out, have so many bits, less one."""
    exponents = np.frexp(lengths[lengths > 0].astype(np.float64))[1] - 1
    return np.bincount(exponents, minlength=64)


def split(found: Round, left: TextSize) -> Split:
    """Which documents of the last phase are held out. Raises CorpusTooSmallError."""
    return choose(found.recipe, left, _contents(found))


def _contents(found: Round) -> Iterator[tuple[Array, Array]]:
    """Keys and sizes of all contents that stay, in ascending order of keys."""
    for bucket in buckets(found.records("split") + len(found.spanned)):
        keys, sizes = [list[Array]() for _ in range(2)]
        for shard, (key, size, document) in slices(found.keys, "split", ["key", "size", "document"], bucket):
            alive = found.gone[found.index(shard, document)] == 0
            key, size = _added_up(key[alive], size[alive])
            keys.append(key)
            sizes.append(size)
        if found.spanned:
            key, size, at_place = found.spanned_split()
            inside = in_bucket(key, bucket) & (found.gone[_index(found, at_place)] == 0)
            keys.append(key[inside])
            sizes.append(size[inside])
        if keys:
            yield _added_up(np.concatenate(keys), np.concatenate(sizes))


def _added_up(key: Array, size: Array) -> tuple[Array, Array]:
    contents, content_of = np.unique(key, return_inverse=True)
    return contents, np.bincount(content_of, size, len(contents)).astype(np.uint64)
