"""What is remembered of each shard beside its text: sorted tables of keys, from which whole-corpus steps decide.

A table's rows are sorted by a 64-bit key that is even over its range. So what stands in many shards under one key is
found by reading the same range of keys from each: bounded memory, whatever the size of the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from core.parsing import ParseError, parse_json
from core.storage.artifact import DamagedError

Array = NDArray[Any]

FENCES = 4096
"""Ranges of keys whose borders are kept, so that one can be read without the others."""
BUCKET = 2**19
"""Records looked at together, about; a sort of so many takes some 50 MB and 0.1 s."""


class Fragment(Struct, frozen=True, kw_only=True):
    """What one shard holds of a document that other shards hold the rest of."""

    document: int
    """Its number in the shard: 0 when it began in one before."""
    ends: bool
    sizes: list[int]
    """Bytes before each slot of the phase, and behind the last."""
    touched: list[bool]
    """Whether each slot changed it."""
    measures: list[tuple[int, int]]
    digests: bytes
    """Of its parts, 16 bytes each."""
    signature: bytes = b""
    """MinHash, 32 bits each; empty: no words, or not needed."""


class Result(Struct, frozen=True, kw_only=True):
    """What one phase made of one shard."""

    documents: int = 0
    """That begin in what was written."""
    bytes: int = 0
    """Of text written."""
    read: tuple[int, int, int] = (0, 0, 0)
    """Documents, bytes and characters that were read."""
    counts: dict[int, list[int]] = {}
    """By step: documents changed, documents removed, bytes taken away."""
    fragments: list[Fragment] = []
    records: dict[str, int] = {}
    """Length of each table."""


def table(name: str, key: Array, **columns: Array) -> dict[str, Array]:
    """A table sorted by key, then by its last column; `columns` are as long as `key`."""
    order = np.lexsort((*reversed(list(columns.values())), key))
    key = key[order]
    borders = np.arange(1, FENCES, dtype=np.uint64) << np.uint64(52)
    fence = np.concatenate([[0], np.searchsorted(key, borders), [len(key)]]).astype(np.int64)
    made = {f"{name}.fence": fence, f"{name}.key": key}
    return made | {f"{name}.{column}": np.ascontiguousarray(values[order]) for column, values in columns.items()}


def write_keys(path: Path, arrays: dict[str, Array], result: Result) -> None:
    """Write the tables and columns of one shard."""
    records = {name.removesuffix(".key"): len(values) for name, values in arrays.items() if name.endswith(".key")}
    result = msgspec.structs.replace(result, records=records)
    # not written by the library: its word for a full disk is no OSError
    path.write_bytes(save(arrays, metadata={"result": msgspec.json.encode(result).decode()}))


def read_result(path: Path) -> Result:
    """What `write_keys` wrote. Raises OSError, DamagedError."""
    try:
        with safe_open(str(path), framework="np") as file:
            return parse_json((file.metadata() or {}).get("result", ""), Result)
    except (SafetensorError, ParseError) as error:
        todo = f"delete {path.parent}: the text is cleaned anew"
        raise DamagedError(f"its keys are damaged: {error}", where=str(path), todo=todo) from None


def column(path: Path, name: str) -> Array:
    """One whole column."""
    with safe_open(str(path), framework="np") as file:
        values: Array = file.get_tensor(name)
        return values


class Slice(NamedTuple):
    """The rows of one shard's table in a range of keys."""

    shard: int
    columns: list[Array]


def buckets(records: int) -> list[tuple[int, int]]:
    """Ranges of fences that hold about `BUCKET` of so many records each, in ascending order of keys."""
    count = min(FENCES, 1 << max(0, (records - 1) // BUCKET).bit_length())
    width = FENCES // count
    return [(low, low + width) for low in range(0, FENCES, width)]


def slices(paths: Sequence[Path], name: str, columns: Sequence[str], bucket: tuple[int, int]) -> Iterator[Slice]:
    """The rows of every shard's table `name` in a bucket; shards without any are left out."""
    for shard, path in enumerate(paths):
        with safe_open(str(path), framework="np") as file:
            fence = file.get_tensor(f"{name}.fence")
            start, end = int(fence[bucket[0]]), int(fence[bucket[1]])
            if start < end:
                yield Slice(shard, [file.get_slice(f"{name}.{column}")[start:end] for column in columns])


def in_bucket(key: Array, bucket: tuple[int, int]) -> NDArray[np.bool_]:
    """Which keys lie in a bucket."""
    fence = key >> np.uint64(52)
    inside: NDArray[np.bool_] = (fence >= bucket[0]) & (fence < bucket[1])
    return inside


def place(shard: int, index: Array | int) -> Array:
    """Where something stands in the corpus as one number, in the order of the corpus."""
    return (np.uint64(shard) << np.uint64(32)) | np.asarray(index, np.uint64)
