"""Byte streams in any encoding, read as UTF-8."""

from __future__ import annotations

from core.download.compression import BufferedStream, ByteStream
from core.errors import LlmtuiError
from core.text_encoding import Decoded, decode, from_first_non_ascii

_MAX_REPLACED = 20
"""Replaced characters in a chunk that are accepted whatever their share."""


class EncodingError(LlmtuiError):
    """A text has too many bytes that are undefined in its encoding."""

    doing = "read the source"


def first_non_ascii(stream: ByteStream, limit: int) -> bytes:
    """Up to SAMPLE_BYTES from the first line with a non-ASCII byte on; none if the next `limit` bytes are ASCII.

    Raises UnreadableError.
    """
    while limit > 0 and (piece := stream.read(2**20)):
        if sample := from_first_non_ascii(piece):
            return sample
        limit -= len(piece)
    return b""


def ensure_decodable(piece: Decoded, encoding: str, where: str) -> None:
    """Raise EncodingError, naming the file `where`, if more than a tenth of the non-ASCII letters were replaced."""
    if piece.replaced <= _MAX_REPLACED:
        return
    letters = len(piece.text) - len(piece.text.encode("ascii", "ignore"))
    if 10 * piece.replaced > letters:
        raise EncodingError(
            f"{piece.replaced:,} of {letters:,} letters in a part of it that are not ASCII are undefined in {encoding}",
            where=where,
            todo="set its encoding, such as --set source.encoding=cp1250, or take the file out",
        )


class TranscodedStream(BufferedStream):
    """A stream in another encoding, as UTF-8. Reading also raises EncodingError."""

    def __init__(self, stream: ByteStream, encoding: str, where: str) -> None:
        """where: name of the file for error messages."""
        super().__init__()
        self.replaced = 0
        """Undefined bytes replaced by U+FFFD so far."""
        self._where = where
        self._stream, self._encoding = stream, encoding
        self._pending, self._state = b"", 0
        self._first = True

    @property
    def consumed(self) -> int:
        return self._stream.consumed

    def _read_some(self, length: int) -> bytes:
        while True:
            data = self._pending + self._stream.read(2**18)
            final = self._stream.at_end()
            self.damage = self._stream.damage
            piece = decode(data, self._encoding, self._state, final=final)
            ensure_decodable(piece, self._encoding, self._where)
            self.replaced += piece.replaced
            self._pending, self._state = data[piece.used :], piece.state
            text = piece.text.removeprefix("\ufeff") if self._first else piece.text
            self._first = self._first and not piece.text
            if text or final:
                return text.encode()
