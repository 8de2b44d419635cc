"""Compression baselines: gzip and xz on the held-out text, to compare the model's bits per byte with."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import as_llmtui_error, is_out_of_memory
from core.events import CompressionBaseline, Note
from core.storage.artifact import Artifact

LIMIT = 8 * 2**20
"""Bytes of held-out text to compress: more than the window of either, and a few seconds at most."""


def measure(clean: Artifact) -> Iterator[CompressionBaseline | Note]:
    """Bits per byte of the concatenated validation documents with `gzip -9` and `xz -9`.

    Yields a Note in place of the baselines if they cannot be measured: a run does not fail because of them.
    """
    try:
        yield from _measured(clean)
    except (MemoryError, OSError, pa.ArrowException) as error:
        why = "memory ran out" if is_out_of_memory(error) else as_llmtui_error(error, clean.path).what
        yield Note(text=f"what gzip and xz need for the held-out text was not measured: {why}")


def _measured(clean: Artifact) -> Iterator[CompressionBaseline]:
    gzip = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    # -9's own dictionary of 64 MiB takes 673 MiB of address space; one as large as the text gives the same in 93
    xz = lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": LIMIT}])
    size = gzipped = xzipped = 0
    for text in _texts(clean):
        data = text[: LIMIT - size]
        gzipped += len(gzip.compress(data))
        xzipped += len(xz.compress(data))
        size += len(data)
        if size >= LIMIT:
            break
    gzipped += len(gzip.flush())
    xzipped += len(xz.flush())
    if size:
        yield CompressionBaseline(name="gzip -9", bits_per_byte=8 * gzipped / size)
        yield CompressionBaseline(name="xz -9", bits_per_byte=8 * xzipped / size)


def _texts(clean: Artifact) -> Iterator[bytes]:
    for shard in clean.files("validation-*.parquet"):
        with pq.ParquetFile(shard) as file:
            for batch in file.iter_batches(batch_size=64, columns=["text"]):
                for text in batch.column(0).to_pylist():
                    yield text.encode()
