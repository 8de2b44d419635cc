"""Sorted tables of keys, one file per shard, for the steps that compare all documents of the corpus.

The rows of a table are sorted by a uniformly distributed 64-bit key. Rows of all shards with equal keys are found by
reading the same range of keys from each shard, so that memory does not grow with the corpus.
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

KEY_RANGES = 4096
"""Ranges of keys whose offsets are stored, so that each can be read alone."""
BUCKET_ROWS = 2**19
"""Approximate rows read together; sorting them takes 50 MB and 0.1 s."""


class DocumentFragment(Struct, frozen=True, kw_only=True):
    """The part in one shard of a document that spans several."""

    document: int
    """Number of the document in the shard: 0 if it began in an earlier one."""
    ends: bool
    """Whether the document ends in this shard."""
    sizes: list[int]
    """Bytes before each step of the phase, and after the last."""
    touched: list[bool]
    """Whether each step changed it."""
    measures: list[tuple[int, int]]
    """Of the filter of each step."""
    digests: bytes
    """Digests of its parts, 16 bytes each."""
    signature: bytes = b""
    """MinHash signature, uint32; empty: no words, or not needed."""


class ShardResult(Struct, frozen=True, kw_only=True):
    """Counts of one phase on one shard."""

    documents: int = 0
    """Documents that begin in the text written."""
    bytes: int = 0
    """Bytes of text written."""
    read: tuple[int, int, int] = (0, 0, 0)
    """Documents, bytes and characters that were read."""
    counts: dict[int, list[int]] = {}
    """By step: documents changed, documents removed, bytes removed."""
    fragments: list[DocumentFragment] = []
    records: dict[str, int] = {}
    """Rows of each table."""


def sorted_table(name: str, key: Array, **columns: Array) -> dict[str, Array]:
    """A table sorted by key, then by `columns`, which are as long as `key`; with the offsets of the key ranges."""
    order = np.lexsort((*reversed(list(columns.values())), key))
    key = key[order]
    borders = np.arange(1, KEY_RANGES, dtype=np.uint64) << np.uint64(52)
    fence = np.concatenate([[0], np.searchsorted(key, borders), [len(key)]]).astype(np.int64)
    made = {f"{name}.fence": fence, f"{name}.key": key}
    return made | {f"{name}.{column}": np.ascontiguousarray(values[order]) for column, values in columns.items()}


def write_keys(path: Path, arrays: dict[str, Array], result: ShardResult) -> None:
    """Write the tables and columns of one shard."""
    records = {name.removesuffix(".key"): len(values) for name, values in arrays.items() if name.endswith(".key")}
    result = msgspec.structs.replace(result, records=records)
    # not written by safetensors, which raises no OSError on a full disk
    path.write_bytes(save(arrays, metadata={"result": msgspec.json.encode(result).decode()}))


def read_result(path: Path) -> ShardResult:
    """The result that `write_keys` wrote. Raises OSError, DamagedError."""
    try:
        with safe_open(str(path), framework="np") as file:
            return parse_json((file.metadata() or {}).get("result", ""), ShardResult)
    except (SafetensorError, ParseError) as error:
        todo = f"delete {path.parent}: the text is cleaned anew"
        raise DamagedError(f"its keys are damaged: {error}", where=str(path), todo=todo) from None


def read_column(path: Path, name: str) -> Array:
    """A whole column of one shard."""
    with safe_open(str(path), framework="np") as file:
        values: Array = file.get_tensor(name)
        return values


class Slice(NamedTuple):
    """Rows of one shard's table in a range of keys."""

    shard: int
    columns: list[Array]


def key_buckets(records: int) -> list[tuple[int, int]]:
    """Splits the key ranges into consecutive buckets of about `BUCKET_ROWS` rows each, as (first, end)."""
    count = min(KEY_RANGES, 1 << max(0, (records - 1) // BUCKET_ROWS).bit_length())
    width = KEY_RANGES // count
    return [(low, low + width) for low in range(0, KEY_RANGES, width)]


def table_slices(paths: Sequence[Path], name: str, columns: Sequence[str], bucket: tuple[int, int]) -> Iterator[Slice]:
    """The rows of each shard's table `name` in a bucket; shards without any are skipped."""
    for shard, path in enumerate(paths):
        with safe_open(str(path), framework="np") as file:
            fence = file.get_tensor(f"{name}.fence")
            start, end = int(fence[bucket[0]]), int(fence[bucket[1]])
            if start < end:
                yield Slice(shard, [file.get_slice(f"{name}.{column}")[start:end] for column in columns])


def keys_in_bucket(key: Array, bucket: tuple[int, int]) -> NDArray[np.bool_]:
    """(keys,) which keys are in a bucket."""
    fence = key >> np.uint64(52)
    inside: NDArray[np.bool_] = (fence >= bucket[0]) & (fence < bucket[1])
    return inside


def position(shard: int, index: Array | int) -> Array:
    """Position in the corpus of a document or line as one integer: shard in the high 32 bits, index in the low."""
    return (np.uint64(shard) << np.uint64(32)) | np.asarray(index, np.uint64)
