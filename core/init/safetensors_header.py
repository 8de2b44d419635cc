"""Headers of safetensors files: which tensors they contain, without reading the tensors.

A file starts with the length of the header, eight bytes, and the header as JSON: dtype, shape and offsets of each
tensor (https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from core.init.spec import InitError
from core.parsing import parse_json

_MAX_HEADER = 100_000_000
"""Bytes, the limit of the safetensors library."""


class TensorInfo(NamedTuple):
    """A tensor in a file."""

    floating: bool
    size: tuple[int, ...]


def read_headers(files: Iterable[Path]) -> dict[str, TensorInfo]:
    """Tensors of safetensors files by name. Raises InitError for an invalid or truncated file."""
    found: dict[str, TensorInfo] = {}
    for path in files:
        try:
            with path.open("rb") as file:

                def read(start: int, end: int) -> bytes:
                    file.seek(start)
                    return file.read(end - start)

                found |= parse_header(path.name, str(path.parent), path.stat().st_size, read)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InitError(f"{path.name} cannot be read ({reason})", where=str(path.parent)) from None
    return found


def parse_header(name: str, where: str, size: int, read: Callable[[int, int], bytes]) -> dict[str, TensorInfo]:
    """Tensors of the safetensors file `name` of `size` bytes.

    read: returns its bytes from a start to an end. Raises InitError for an invalid or truncated file.
    """
    length = int.from_bytes(read(0, 8), "little") if size > 8 else 0
    try:
        if not 0 < length <= min(size - 8, _MAX_HEADER):
            raise ValueError("it is no safetensors file")
        header = parse_json(read(8, 8 + length), dict[str, msgspec.Raw])
        header.pop("__metadata__", None)
        entries = {name: parse_json(bytes(entry), _Entry) for name, entry in header.items()}
    except ValueError as error:
        raise InitError(f"{name} cannot be read ({error})", where=where) from None
    end = 0
    for start, stop in sorted(entry.data_offsets for entry in entries.values()):
        if start != end or stop < start:
            raise InitError(f"{name} cannot be read (its tensors are not contiguous)", where=where)
        end = stop
    if 8 + length + end != size:
        raise InitError(f"{name} has {size:,} bytes where it says {8 + length + end:,}", where=where)
    return {name: TensorInfo(entry.dtype.startswith(("F", "BF")), entry.shape) for name, entry in entries.items()}


class _Entry(Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]
