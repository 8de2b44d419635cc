"""The bytes of a file as a stream, compressed or not."""

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
"""Compressed bytes handed to a codec at a time."""
_ZSTD_STEP = 2**16
"""Arrow loses what it has unpacked in the call that meets the damage: keep a call small."""
_LZMA_MEMORY = 2**28
"""`xz -9` needs 65 MiB; a file may claim any amount."""

TRUNCATED = "it is cut off"


class ByteStream(Protocol):
    """Bytes read in order."""

    damage: str
    """Why nothing follows although the file should go on; empty for a whole file."""

    @property
    def consumed(self) -> int:
        """Bytes of the file on the disk used up by now."""

    def read(self, length: int) -> bytes:
        """The next `length` bytes, fewer only where they end. Raises UnreadableError."""

    def at_end(self) -> bool:
        """Whether nothing follows. Raises UnreadableError."""

    def skip(self, length: int) -> None:
        """Go on `length` bytes further. Raises UnreadableError."""


class BufferedStream:
    """The part of `ByteStream` that all streams share: whole reads over a source of pieces of any length."""

    damage = ""

    def __init__(self) -> None:
        self._ahead = b""

    def _more(self, length: int) -> bytes:
        """Some more bytes, about `length` of them at most; none at the end."""
        raise NotImplementedError

    def read(self, length: int) -> bytes:
        if len(self._ahead) >= length:
            piece, self._ahead = self._ahead[:length], self._ahead[length:]
            return piece
        pieces, missing = [self._ahead], length - len(self._ahead)
        self._ahead = b""
        while missing > 0 and (piece := self._more(missing)):
            pieces.append(piece)
            missing -= len(piece)
        data = b"".join(pieces)
        if missing < 0:
            data, self._ahead = data[:length], data[length:]
        return data

    def at_end(self) -> bool:
        if not self._ahead:
            self._ahead = self._more(1)
        return not self._ahead

    def skip(self, length: int) -> None:
        while length > 0 and (piece := self.read(min(length, 2**20))):
            length -= len(piece)


class FileStream(BufferedStream):
    """The first `size` bytes of a file, unpacked. What was appended to it meanwhile is left out."""

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
        self._decoder = _DECODERS[compression]() if compression in _DECODERS else None
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
            self._file.seek(length - len(self._ahead), 1)
            self._used += length - len(self._ahead)
            self._ahead = b""

    def _more(self, length: int) -> bytes:
        if self.damage:
            return b""
        try:
            if self._zstd is not None:
                return bytes(self._zstd.read(min(length, _ZSTD_STEP)))
            return self._unpacked(self._decoder, length) if self._decoder is not None else self._raw(length)
        except (zlib.error, lzma.LZMAError, pa.ArrowException, EOFError, ValueError) as error:
            self.damage = f"its compressed data is damaged ({error})"
        except OSError as error:
            if error.errno is not None:  # the disk's; codecs have none
                raise UnreadableError(os_error_reason(error), where=str(self._path)) from None
            cut = "Truncated" in str(error)
            self.damage = TRUNCATED if cut else f"its compressed data is damaged ({error})"
        return b""

    def _raw(self, length: int) -> bytes:
        wanted = max(0, min(length, self._size - self._used))
        data = self._file.read(wanted) or b""
        if wanted and not data and not self._compression:
            self.damage = f"it ends after {self._used:,} of {self._size:,} bytes"
        self._used += len(data)
        return data

    def _unpacked(self, decoder: _Decoder, length: int) -> bytes:
        feed, ended = b"", False
        while True:
            if decoder.eof:
                # members may follow each other, with zeros between them
                feed = decoder.unused_data.lstrip(b"\0")
                while not feed and (more := self._raw(_CHUNK)):
                    feed = more.lstrip(b"\0")
                if not feed:
                    return b""
                self._decoder = decoder = _DECODERS[self._compression]()
            elif decoder.needs_input and not ended:
                feed = self._raw(_CHUNK)
                ended = not feed
            if ended and not self._started:
                return b""
            self._started = True
            data = decoder.decompress(feed, length)
            feed = b""
            if data:
                return data
            if ended and not decoder.eof:
                self.damage = TRUNCATED
                return b""


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


class _Gzip:
    """zlib's decoder behind the interface that lzma's and bz2's have."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gz": _Gzip,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY),
    "bz2": bz2.BZ2Decompressor,
}
