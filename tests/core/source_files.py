"""Writes source files of each format, and reads the documents that the download stage makes of them."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core.events import Event
from core.storage.artifact import Artifact
from core.storage.documents import DocumentPart, read_parts
from tests.core.stages import (
    downloading,
    run_stage,
)


def sample_documents(count: int = 90) -> list[str]:
    """Short texts, some of several lines, and one longer than `PART_BYTES` of `small_shards`."""
    texts = [f"Document {n}: “{'mot ' * (n % 9)}”\n" + "second line\n" * (n % 3) for n in range(count)]
    return [*texts[: count // 2], "".join(f"{n:03d} {'x' * 50}\n" for n in range(60)), *texts[count // 2 :]]


def as_json_lines(texts: list[str]) -> bytes:
    return "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts)).encode()


def as_table(texts: list[str], delimiter: str = ",") -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(["id", "text"])
    writer.writerows(enumerate(texts))
    return file.getvalue().encode()


def as_parquet(texts: list[str]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), sink, row_group_size=25)
    return bytes(sink.getvalue())


def as_json(texts: list[str]) -> bytes:
    return json.dumps([{"id": n, "text": text} for n, text in enumerate(texts)], indent=1).encode()


def as_arrow(texts: list[str]) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"id": range(len(texts)), "text": texts})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=25)
    return bytes(sink.getvalue())


def as_zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": as_zstd,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}

FORMATS: dict[str, Callable[[list[str]], bytes]] = {
    "jsonl": as_json_lines,
    "csv": as_table,
    "tsv": lambda texts: as_table(texts, "\t"),
    "json": as_json,
    "parquet": as_parquet,
    "arrow": as_arrow,
}


def parts_of(artifact: Artifact) -> list[DocumentPart]:
    return list(read_parts(artifact.files("documents-*.parquet")))


def texts_of(artifact: Artifact) -> list[str]:
    texts: list[str] = []
    for part in parts_of(artifact):
        if part.number == 0:
            texts.append("")
        texts[-1] += part.text
    return texts


def write_file(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def download_texts(path: Path | str, out: Path, events: list[Event] | None = None, **recipe: object) -> list[str]:
    return texts_of(run_stage(out, downloading(path, **recipe), events=events))
