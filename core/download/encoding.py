"""Which encoding a text is in, and decoding it piece by piece."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from core.download.compression import Ahead, Bytes

SAMPLE = 2**16
"""Bytes looked at, from the beginning and again from the middle."""
_ENOUGH = 64
"""Bytes below which nothing is concluded from letters that are not UTF-8."""
_NEAR = 0.06
"""Two encodings whose measure of mess differs by less than this are not told apart by it."""

_BOMS = (  # the longer first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LIKELY = (
    *("cp1252", "cp1250", "cp1251", "cp932", "gb18030", "big5", "cp949", "euc_jp", "koi8_r", "iso8859_2"),
    *("cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp866", "cp850", "mac_roman", "iso2022_jp"),
)
"""Encodings that texts on disks have, the likelier first."""
_SIGNS = (
    b"%PDF-",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ\0",
    b"PK\x03\x04",
    b"BZh91AY",
    b"\x89PNG",
    b"\xff\xd8\xff",
)
"""How formats begin that are never text, NUL bytes or not."""
_HIGH = bytes(range(128, 256))
_UNPRINTABLE = re.compile(r"[^\t\n\f\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffc]")


def encoding_of(head: bytes, middle: bytes = b"", *, nuls: float = 0.0) -> str:
    """The encoding of a text by its first bytes and some from its middle; "" for what is no text at all.

    nuls: the share of NUL bytes near the beginning that is still taken for text.
    """
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    if head.startswith(_SIGNS):
        return ""
    near = head[:8192]
    if b"\0" in near and ((wide := _wide(near)) or near.count(0) > nuls * len(near)):
        return wide
    # without the line that was cut, which may end or begin in the middle of a character
    middle = middle.partition(b"\n")[2]
    sample = head + middle
    if sample.isascii() or all(is_utf8(piece) for piece in (head, middle)):
        return "utf-8"
    valid = len(sample.decode("utf-8", "ignore").encode())
    letters = valid - len(sample.translate(None, _HIGH))
    if len(sample) < _ENOUGH or 4 * (len(sample) - valid) < letters:
        return "utf-8"  # damaged here and there
    return _guess(sample)


def is_utf8(piece: bytes) -> bool:
    """Whether it is valid UTF-8, but for a last character that is cut."""
    try:
        codecs.utf_8_decode(piece, "strict", False)
    except UnicodeDecodeError:
        return False
    return True


def _wide(head: bytes) -> str:
    """UTF-16 without a mark: every other byte of most Western text is NUL."""
    head = head[: len(head) & ~1]
    for name, nuls, others in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if len(nuls) < 4 or nuls.count(0) < len(nuls) // 3 or others.count(0) > len(others) // 50:
            continue
        text = head.decode(name, "replace").rstrip("\ufffd")  # the last character may be cut
        if not _UNPRINTABLE.search(text):
            return name
    return ""


def _guess(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    found = from_bytes(sample, cp_isolation=list(_LIKELY), steps=8, chunk_size=1024)
    best = found.best()
    if best is None:
        return "utf-8"
    near = {name for match in found if match.chaos <= best.chaos + _NEAR for name in match.could_be_from_charset}
    return next((name for name in _LIKELY if name in near), best.encoding)


class Decoded(NamedTuple):
    """A piece of text out of some bytes."""

    text: str
    used: int
    """Bytes it was made from."""
    state: int
    """What the decoder has to know to go on."""
    replaced: int
    """Characters that stand for bytes which mean nothing."""


def decode(data: bytes, encoding: str, state: int = 0, *, final: bool) -> Decoded:
    """The text of `data` up to its last whole character. final: nothing follows."""
    if encoding == "utf-8":
        text, used = codecs.utf_8_decode(data, "replace", final)
        after = 0
    else:
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        if state:  # CPython's ISO-2022 decoders crash on a state of 0, which none of theirs is
            decoder.setstate((b"", state))
        text = decoder.decode(data, final)
        pending, after = decoder.getstate()
        used = len(data) - len(pending)
    replaced = text.count("\ufffd")
    if replaced and (encoding.startswith("utf") or encoding == "gb18030"):
        replaced = max(0, replaced - data[:used].count("\ufffd".encode(encoding)))
    return Decoded(text, used, after, replaced)


def line_end(data: bytes, encoding: str) -> int:
    """The offset behind the last line end in `data`; 0 where there is none."""
    mark = "\n".encode(encoding)
    end = len(data)
    while (at := data.rfind(mark, 0, end)) >= 0:
        if at % len(mark) == 0 or not encoding.startswith("utf"):
            return at + len(mark)
        end = at + len(mark) - 1
    return 0


class Transcoded(Ahead):
    """A stream in another encoding as UTF-8."""

    def __init__(self, stream: Bytes, encoding: str) -> None:
        super().__init__()
        self._stream, self._encoding = stream, encoding
        self._waiting, self._state = b"", 0
        self._first = True

    @property
    def consumed(self) -> int:
        return self._stream.consumed

    def _more(self, length: int) -> bytes:
        while True:
            data = self._waiting + self._stream.read(2**18)
            final = self._stream.at_end()
            self.damage = self._stream.damage
            piece = decode(data, self._encoding, self._state, final=final)
            self._waiting, self._state = data[piece.used :], piece.state
            text = piece.text.removeprefix("\ufeff") if self._first else piece.text
            self._first = self._first and not piece.text
            if text or final:
                return text.encode()
