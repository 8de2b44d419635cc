"""What safetensors files say they hold: the JSON they begin with is read, their numbers are not.

The first eight bytes are its length; it names each tensor, its type, its size and its place behind the JSON
(https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from core.parsing import parse_json
from core.recipe.model_config import InitError

_LONGEST = 100_000_000
"""Bytes of JSON, as the safetensors library has it."""


class Kept(NamedTuple):
    """A tensor in a file."""

    floating: bool
    """Whether its numbers have a point."""
    size: tuple[int, ...]


def contents(files: Iterable[Path]) -> dict[str, Kept]:
    """What safetensors files say they have, by name. Raises InitError where one cannot be what it says."""
    found: dict[str, Kept] = {}
    for path in files:
        try:
            with path.open("rb") as file:

                def read(first: int, last: int) -> bytes:
                    file.seek(first)
                    return file.read(last - first)

                found |= beginning_of(path.name, str(path.parent), path.stat().st_size, read)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InitError(f"{path.name} cannot be read ({reason})", where=str(path.parent)) from None
    return found


def beginning_of(name: str, where: str, size: int, read: Callable[[int, int], bytes]) -> dict[str, Kept]:
    """What the safetensors file `name` of `size` bytes says it has.

    read: its bytes from one place to another. Raises InitError where that cannot be.
    """
    length = int.from_bytes(read(0, 8), "little") if size > 8 else 0
    try:
        if not 0 < length <= min(size - 8, _LONGEST):
            raise ValueError("it is no safetensors file")
        entries = parse_json(read(8, 8 + length), dict[str, msgspec.Raw])
        entries.pop("__metadata__", None)
        kept = {name: parse_json(bytes(entry), _Entry) for name, entry in entries.items()}
    except ValueError as error:
        raise InitError(f"{name} cannot be read ({error})", where=where) from None
    end = 0
    for start, stop in sorted(entry.data_offsets for entry in kept.values()):
        if start != end or stop < start:
            raise InitError(f"{name} cannot be read (its tensors do not lie side by side)", where=where)
        end = stop
    if 8 + length + end != size:
        raise InitError(f"{name} has {size:,} bytes where it says {8 + length + end:,}", where=where)
    return {name: Kept(entry.dtype.startswith(("F", "BF")), entry.shape) for name, entry in kept.items()}


class _Entry(Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]
