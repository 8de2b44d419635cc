"""Streams over the bytes of a plain or compressed file."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from core.download.discover import UnreadableError, os_error_reason
from core.download.formats import Compression

_CHUNK = 2**18
"""Compressed bytes passed to a decompressor at a time."""
_ZSTD_READ = 2**16
"""Bytes per read: Arrow loses the output of the read in which it finds damage."""
_LZMA_MEMORY = 2**28
"""Limit in bytes: `xz -9` needs 65 MiB, but a header may demand up to 4 GiB."""

TRUNCATED = "it is cut off"


class ByteStream(Protocol):
    """A stream of bytes that reports damage after the bytes before it, rather than by an exception."""

    damage: str
    """Why the stream ends too early; empty for an intact file."""

    @property
    def consumed(self) -> int:
        """Bytes of the file on the disk that were read so far."""

    def read(self, length: int) -> bytes:
        """The next `length` bytes, fewer only at the end. Raises UnreadableError."""

    def at_end(self) -> bool:
        """Whether all bytes were read. Raises UnreadableError."""

    def skip(self, length: int) -> None:
        """Skip `length` bytes. Raises UnreadableError."""


class BufferedStream:
    """Reads of an exact length over `_read_some`, which returns any length."""

    damage = ""

    def __init__(self) -> None:
        self._buffer = b""

    def _read_some(self, length: int) -> bytes:
        """About `length` bytes at most; none at the end."""
        raise NotImplementedError

    def read(self, length: int) -> bytes:
        if len(self._buffer) >= length:
            data, self._buffer = self._buffer[:length], self._buffer[length:]
            return data
        chunks, missing = [self._buffer], length - len(self._buffer)
        self._buffer = b""
        while missing > 0 and (chunk := self._read_some(missing)):
            chunks.append(chunk)
            missing -= len(chunk)
        data = b"".join(chunks)
        if missing < 0:
            data, self._buffer = data[:length], data[length:]
        return data

    def at_end(self) -> bool:
        if not self._buffer:
            self._buffer = self._read_some(1)
        return not self._buffer

    def skip(self, length: int) -> None:
        while length > 0 and (chunk := self.read(min(length, 2**20))):
            length -= len(chunk)


class FileStream(BufferedStream):
    """The first `size` bytes of a file, decompressed. Bytes appended to the file later are ignored."""

    def __init__(self, path: Path, size: int, compression: Compression = "") -> None:
        """Raises UnreadableError."""
        super().__init__()
        self._path, self._size, self._compression = path, size, compression
        try:
            self._file = path.open("rb", buffering=0)
            self._zstd = (
                pa.CompressedInputStream(pa.PythonFile(self._file, "r"), "zstd") if compression == "zst" else None
            )
        except OSError as error:
            raise UnreadableError(os_error_reason(error), where=str(path)) from None
        self._decompressor = _DECOMPRESSORS[compression]() if compression in _DECOMPRESSORS else None
        self._used = 0
        self._started = False

    def __enter__(self) -> FileStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def consumed(self) -> int:
        return self._file.tell() if self._zstd is not None else self._used

    def skip(self, length: int) -> None:
        if self._compression:
            super().skip(length)
        else:
            self._file.seek(length - len(self._buffer), 1)
            self._used += length - len(self._buffer)
            self._buffer = b""

    def _read_some(self, length: int) -> bytes:
        if self.damage:
            return b""
        try:
            if self._zstd is not None:
                return bytes(self._zstd.read(min(length, _ZSTD_READ)))
            return (
                self._decompress(self._decompressor, length)
                if self._decompressor is not None
                else self._read_file(length)
            )
        except (zlib.error, lzma.LZMAError, pa.ArrowException, EOFError, ValueError) as error:
            self.damage = f"its compressed data is damaged ({error})"
        except OSError as error:
            if error.errno is not None:  # of the file system: decompressors set none
                raise UnreadableError(os_error_reason(error), where=str(self._path)) from None
            cut = "Truncated" in str(error)
            self.damage = TRUNCATED if cut else f"its compressed data is damaged ({error})"
        return b""

    def _read_file(self, length: int) -> bytes:
        count = max(0, min(length, self._size - self._used))
        data = self._file.read(count) or b""
        if count and not data and not self._compression:
            self.damage = f"it ends after {self._used:,} of {self._size:,} bytes"
        self._used += len(data)
        return data

    def _decompress(self, decompressor: _Decompressor, length: int) -> bytes:
        feed, at_end = b"", False
        while True:
            if decompressor.eof:
                # several members may be concatenated, with zero padding between them
                feed = decompressor.unused_data.lstrip(b"\0")
                while not feed and (chunk := self._read_file(_CHUNK)):
                    feed = chunk.lstrip(b"\0")
                if not feed:
                    return b""
                self._decompressor = decompressor = _DECOMPRESSORS[self._compression]()
            elif decompressor.needs_input and not at_end:
                feed = self._read_file(_CHUNK)
                at_end = not feed
            if at_end and not self._started:
                return b""
            self._started = True
            data = decompressor.decompress(feed, length)
            feed = b""
            if data:
                return data
            if at_end and not decompressor.eof:
                self.damage = TRUNCATED
                return b""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


class _Gzip:
    """`zlib.decompressobj` with the interface of `lzma.LZMADecompressor` and `bz2.BZ2Decompressor`."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._decompressor.eof

    @property
    def needs_input(self) -> bool:
        return not self._decompressor.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._decompressor.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        return self._decompressor.decompress(self._decompressor.unconsumed_tail + data, max_length)


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gz": _Gzip,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY),
    "bz2": bz2.BZ2Decompressor,
}
