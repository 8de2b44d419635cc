"""Token shards: files of token ids, and reading them as one stream.

A file is a header of 256 bytes and then the ids, all little endian:

    offset 0    8 bytes   magic "llmtui\\0t"
           8    uint32    version of this layout, 1
          12    uint32    bytes per id: 2 (uint16) or 4 (uint32)
          16    uint64    number of ids
          24    zeros up to 256
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import LlmtuiError

HEADER_BYTES = 256
_MAGIC = b"llmtui\0t"
_VERSION = 1
_FIELDS = struct.Struct("<8sIIQ")
_DTYPES: dict[int, np.dtype[np.unsignedinteger[Any]]] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}

Tokens = NDArray[np.unsignedinteger[Any]]
"""(tokens,) ids as they are stored, uint16 or uint32."""


class ShardError(LlmtuiError):
    """A file is not a complete token shard."""

    doing = "read the tokens"


def dtype_for(vocabulary_size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The smallest type that holds every id below `vocabulary_size`."""
    return _DTYPES[2 if vocabulary_size <= 2**16 else 4]


def write_shard(path: Path, pieces: Sequence[Tokens]) -> None:
    """Write the concatenated ids of `pieces`, which have one dtype; at least one piece."""
    width = pieces[0].dtype.itemsize
    header = _FIELDS.pack(_MAGIC, _VERSION, width, sum(map(len, pieces)))
    with path.open("wb") as file:
        file.write(header.ljust(HEADER_BYTES, b"\0"))
        for piece in pieces:
            file.write(piece.astype(_DTYPES[width], copy=False).data)


def map_shard(path: Path) -> Tokens:
    """(tokens,) the ids of one shard, memory-mapped. Raises ShardError if it is not a complete shard."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise ShardError((error.strerror or str(error)).lower(), where=str(path)) from None
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        raise ShardError("it is not a token shard", where=str(path))
    version, width, count = map(int, _FIELDS.unpack_from(header)[1:])
    if version != _VERSION or width not in _DTYPES:
        raise ShardError(
            f"its layout is unknown (version {version}, {width} bytes an id)",
            where=str(path),
            todo="it may come from a newer llmtui: update",
        )
    expected = HEADER_BYTES + width * count
    if size != expected:
        raise ShardError(f"it has {size:,} bytes where its header promises {expected:,}", where=str(path))
    if not count:
        return np.empty(0, _DTYPES[width])
    return np.asarray(np.memmap(path, _DTYPES[width], "r", HEADER_BYTES, (count,)))


class TokenStream:
    """The ids of several shards as one sequence."""

    def __init__(self, files: Sequence[Path]) -> None:
        """files: shards in order. Raises ShardError."""
        self._shards = [map_shard(path) for path in files]
        self._ends = np.cumsum([len(shard) for shard in self._shards], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._shards else 0

    def window(self, start: int, length: int) -> NDArray[np.int64]:
        """(length,) ids from position `start`, across shards. Raises IndexError outside the stream."""
        if start < 0 or length < 0 or start + length > len(self):
            raise IndexError(f"tokens {start} to {start + length} of a stream of {len(self)}")
        window = np.empty(length, np.int64)
        filled = 0
        index = int(np.searchsorted(self._ends, start, side="right"))
        while filled < length:
            shard = self._shards[index]
            offset = start + filled - (int(self._ends[index]) - len(shard))
            piece = shard[offset : offset + length - filled]
            window[filled : filled + len(piece)] = piece
            filled += len(piece)
            index += 1
        return window
