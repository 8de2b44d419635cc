"""Parses JSON and TOML files; every failure is a ParseError.

The parsers raise more than their own exceptions: invalid UTF-8 is a UnicodeDecodeError, ten thousand brackets are a
RecursionError, a number of five thousand digits is a ValueError.
"""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""An integer of 64 bits, which a float can represent: longer ones in a file are damage."""

BYTE_ORDER_MARKS = (  # longest first: UTF-32's mark starts with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks and their encodings; editors and shells of Windows write them."""


class ParseError(ValueError):
    """The content is invalid; the message is a clause that says why."""


def parse(decode: Callable[[bytes], T], raw: bytes) -> T:
    """Apply `decode`, a method of a msgspec decoder, to `raw`. Raises ParseError."""
    try:
        return decode(raw)
    except (ValueError, ArithmeticError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise ParseError(_why(error)) from None


def parse_json(raw: bytes | str, kind: type[T]) -> T:
    """The JSON in `raw` as a `kind`. Raises ParseError."""
    return parse(lambda data: msgspec.json.decode(data, type=kind), raw.encode() if isinstance(raw, str) else raw)


def read_json(path: Path, kind: type[T]) -> T:
    """The JSON in the file `path` as a `kind`. Raises OSError, ParseError."""
    return parse_json(path.read_bytes(), kind)


def parse_toml(text: str) -> dict[str, Any]:
    """The tables in `text`. Raises ParseError, with the line."""
    try:
        return tomllib.loads(text)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ParseError(_why(error)) from None


def read_toml(path: Path) -> dict[str, Any]:
    """The tables in the file `path`. Raises OSError, ParseError."""
    try:
        text = decode_text(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ParseError(_why(error)) from None
    return parse_toml(text)


def decode_text(raw: bytes) -> str:
    """Decode `raw` as UTF-8, or as its byte order mark says. Raises UnicodeDecodeError."""
    mark, encoding = next((known for known in BYTE_ORDER_MARKS if raw.startswith(known[0])), (b"", "utf-8"))
    return raw[len(mark) :].decode(encoding)


def _why(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return f"it is not {error.encoding.upper()} text (byte {error.start})"
        case RecursionError():
            return "it is nested too deeply"
        case tomllib.TOMLDecodeError():
            return f"not TOML: {error}"
    return str(error)
