"""Which format a file has, by its name."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal, NamedTuple

Kind = Literal["text", "json", "jsonl", "csv", "tsv", "parquet", "arrow", "html"]
Compression = Literal["", "gz", "zst", "xz", "bz2"]

_KINDS: dict[str, Kind] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".jsonlines": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gz", ".zst": "zst", ".zstd": "zst", ".xz": "xz", ".bz2": "bz2"}

_BY_TYPE = {
    "application/json": ".json",
    "application/jsonl": ".jsonl",
    "application/x-jsonlines": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/ndjson": ".jsonl",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "application/vnd.apache.parquet": ".parquet",
    "text/plain": ".txt",
}
_BY_CODING = {"gzip": ".gz", "x-gzip": ".gz", "zstd": ".zst", "bzip2": ".bz2"}


class Format(NamedTuple):
    """How a file has to be read."""

    kind: Kind
    compression: Compression = ""


def format_of(name: str) -> Format:
    """The format that the suffixes of `name` say; whatever is not known is plain text."""
    path = PurePosixPath(name.lower())
    compression = _COMPRESSIONS.get(path.suffix, "")
    return Format(_KINDS.get(path.with_suffix("").suffix if compression else path.suffix, "text"), compression)


def name_for(name: str, media_type: str, coding: str) -> str:
    """`name` with the suffixes that what a server says about a file adds to it.

    media_type: its Content-Type; counts where the name has no suffix. coding: its Content-Encoding.
    """
    if not PurePosixPath(name).suffix:
        name += _BY_TYPE.get(media_type.partition(";")[0].strip().lower(), "")
    packed = _BY_CODING.get(coding.strip().lower(), "")
    return name if not packed or format_of(name).compression == _COMPRESSIONS[packed] else name + packed
