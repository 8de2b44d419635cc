"""What everybody's compressors need for the held-out text: a ruler for bits per byte that needs no explanation."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import as_llmtui_error, ran_out
from core.events import Note, Yardstick
from core.storage.artifact import Artifact

LIMIT = 8 * 2**20
"""Bytes of held-out text they are given: more than either looks back over in one go, and a few seconds at most."""


def yardsticks(clean: Artifact) -> Iterator[Yardstick | Note]:
    """`gzip -9` and `xz -9` over the validation documents one after the other, in bits per byte of text.

    Nothing here is worth a run: what cannot be measured is left out with a word.
    """
    try:
        yield from _measured(clean)
    except (MemoryError, OSError, pa.ArrowException) as error:
        why = "memory ran out" if ran_out(error) else as_llmtui_error(error, clean.path).what
        yield Note(text=f"what gzip and xz need for the held-out text was not measured: {why}")


def _measured(clean: Artifact) -> Iterator[Yardstick]:
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
        yield Yardstick(name="gzip -9", bits_per_byte=8 * gzipped / size)
        yield Yardstick(name="xz -9", bits_per_byte=8 * xzipped / size)


def _texts(clean: Artifact) -> Iterator[bytes]:
    for shard in clean.files("validation-*.parquet"):
        with pq.ParquetFile(shard) as file:
            for batch in file.iter_batches(batch_size=64, columns=["text"]):
                for text in batch.column(0).to_pylist():
                    yield text.encode()
