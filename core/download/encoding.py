"""Which encoding a text is in, and decoding it piece by piece."""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import NamedTuple

from core.download.compression import BufferedStream, ByteStream
from core.errors import LlmtuiError
from core.parsing import BYTE_ORDER_MARKS

SAMPLE = 2**16
"""Bytes looked at, from the beginning and again from the middle."""
_FEW = 2
"""Bytes that are not ASCII, among more that are, from which nothing can be concluded."""
_QUOTES = b"\x85\x91\x92\x93\x94\x95\x96\x97"
"""The dots, quotation marks and dashes of all of Windows' encodings: where there is little else, it is one of them."""
_LATIN_9 = re.compile(rb"\xa4|[A-Za-z]\xbd|\xbd[a-z]")
"""A euro sign or an oe of ISO 8859-15, which are a general currency sign and a half in cp1252."""
_DAMAGE = 20
"""Places in a piece of text that may mean nothing whatever their share."""

_SUPERSETS = {
    "iso8859-1": "cp1252",
    "iso8859-15": "cp1252",
    "iso8859-7": "cp1253",
    "iso8859-9": "cp1254",
    "iso8859-8": "cp1255",
    "iso8859-13": "cp1257",
    "tis-620": "cp874",
    "shift_jis_2004": "cp932",
    "euc_jis_2004": "euc_jp",
    "iso2022_jp_2": "iso2022_jp",
    "euc_kr": "cp949",
    "big5hkscs": "big5",
}
"""Where a text says the same in both: the one that more files have, and that gives later bytes a meaning, too."""
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
_WORD = re.compile(rb"\S*[\x80-\xff]\S*")
_NOT_ASCII = re.compile("[A-Za-z]*[^\0-\x7f][A-Za-z\x80-\U0010ffff]*")
_ALONE = {"LATIN", "GREEK", "CYRILLIC", "HEBREW", "ARABIC", "THAI"}
"""Scripts that do not mix within a word."""
_ODD_SHARE = 5
"""A fifth of such words may be odd: prices, dashes without spaces, abbreviations."""
_HIGH = bytes(range(128, 256))
_ASCII = bytes(range(128))
_UNPRINTABLE = re.compile(r"[^\t\n\f\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffc\U00010000-\U0010ffff]")


class EncodingError(LlmtuiError):
    """A text means too little in the encoding it was taken for."""

    doing = "read the source"


def detect_encoding(head: bytes, middle: bytes = b"", *, nuls: float = 0.0, said: str = "") -> str:
    """The encoding of a text by its first bytes and some from its middle; "" for what is no text at all.

    nuls: the share of NUL bytes near the beginning that is still taken for text. said: what a person says it is,
    which only a byte order mark knows better.
    """
    for mark, name in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return name
    if head.startswith(_SIGNS):
        return ""
    near = head[:8192]
    if said in ("utf-16", "utf-32"):  # without a mark, they do not say which byte goes first
        return _wide(near) or f"{said}-le"
    if said.startswith(("utf-16", "utf-32")):
        return said
    if b"\0" in near and ((wide := _wide(near)) or near.count(0) > nuls * len(near)):
        return wide
    if said:
        return said
    # without the line that was cut, which may end or begin in the middle of a character
    middle = middle.partition(b"\n")[2]
    sample = head + middle
    # one that is ASCII alone says nothing, but would make a guess believe in English
    pieces = [piece for piece in (head, middle) if not piece.isascii()] or [sample]
    lines = b"".join(piece[: piece.rfind(b"\n") + 1] or piece for piece in pieces)
    if sample.isascii():
        return _guess(lines) if b"\x1b$" in lines else "utf-8"  # ISO 2022 announces with ESC $ what follows
    if all(is_utf8(piece) for piece in (head, middle)):
        return "utf-8"
    valid = len(sample.decode("utf-8", "ignore").encode())
    if 2 * valid - len(sample) >= len(sample.translate(None, _HIGH)):  # more letters are UTF-8 than not:
        return "utf-8"  # damaged here and there, or two encodings, which is found when it is read
    return _guess(lines)


def is_utf8(piece: bytes) -> bool:
    """Whether it is valid UTF-8, but for a last character that is cut."""
    try:
        codecs.utf_8_decode(piece, "strict", False)
    except UnicodeDecodeError:
        return False
    return True


def first_non_ascii(stream: ByteStream, limit: int) -> bytes:
    """Some bytes of a stream from the first line on that is not ASCII; none where the next `limit` bytes all are.

    Raises UnreadableError.
    """
    while limit > 0 and (piece := stream.read(2**20)):
        if not piece.isascii():
            first = len(piece) - len(piece.lstrip(_ASCII))
            return piece[piece.rfind(b"\n", 0, first) + 1 :][:SAMPLE]
        limit -= len(piece)
    return b""


def _wide(head: bytes) -> str:
    """UTF-16 or UTF-32 without a mark: the one in which all is text, and which has the most spaces and line ends."""
    found: dict[str, int] = {}
    for width, names in ((4, ("utf-32-le", "utf-32-be")), (2, ("utf-16-le", "utf-16-be"))):
        for name in names:
            try:
                text = codecs.getincrementaldecoder(name)().decode(head[: len(head) // width * width])
            except UnicodeDecodeError:
                continue
            odd = len(_UNPRINTABLE.findall(text)) + sum(unicodedata.category(letter) in ("Cn", "Co") for letter in text)
            if len(text) < 4 or 200 * odd > len(text):
                continue
            if width == 2 and 2 * sum(letter < "\u0100" for letter in text) < head.count(0):
                continue  # most NULs are halves of spaces, line ends and Latin letters
            found[name] = 1 + sum(map(text.count, " \n\r"))
        if found:
            break
    return max(found, key=lambda name: found[name], default="")


def _guess(sample: bytes) -> str:
    high = len(sample.translate(None, _ASCII))
    if 0 < high <= _FEW and 2 * high < len(sample) and _says_the_same(sample, "cp1252", "cp1252"):
        return "cp1252"
    from chardet import detect, detect_all
    from chardet.enums import EncodingEra

    era = EncodingEra(EncodingEra.ALL & ~EncodingEra.MAINFRAME)  # whose texts are not on disks
    if 2 * (high - len(sample.translate(None, _ASCII + _QUOTES))) >= high > 0:
        era = EncodingEra.MODERN_WEB
    # the newline keeps it from taking "BM" at the beginning of a text for a picture
    found = detect(b"\n" + sample, max_bytes=len(sample) + 1, encoding_era=era, compat_names=False)
    if not found["encoding"]:
        return ""
    name = codecs.lookup(found["encoding"]).name
    if _has_odd_words(sample, name):
        # ASCII of other columns or of code is read as English: what is said among it is in the other words
        words = b" ".join(_WORD.findall(sample))
        guesses = detect_all(b"\n" + words, max_bytes=len(words) + 1, encoding_era=era, compat_names=False)
        others = (codecs.lookup(str(guess["encoding"])).name for guess in guesses if guess["encoding"])
        name = next((other for other in others if not _has_odd_words(sample, other)), name)
    if name == "iso8859-15" and not _LATIN_9.search(sample):
        name = "cp1252"
    better = ("cp1252", _SUPERSETS.get(name, name))
    return next((other for other in better if _says_the_same(sample, name, other)), name)


def _has_odd_words(sample: bytes, encoding: str) -> bool:
    """Whether more than a few of the words that are not ASCII are no words of any language in `encoding`: they have
    signs or controls in them, letters of two scripts, or Latin ones and not one of ASCII's."""
    words = _NOT_ASCII.findall(decode(sample, encoding, final=True).text)
    return _ODD_SHARE * sum(map(_is_odd, words)) > len(words)


def _is_odd(word: str) -> bool:
    if any("\x7f" <= letter < "\xa0" and letter != "\x85" for letter in word) or "\ufffd" in word:
        return True
    if any(unicodedata.category(letter)[0] in "SNC" or letter in "¿¡" for letter in word[1:-1] if not letter.isascii()):
        return True
    scripts = {_script(letter) for letter in word if letter.isalpha()}
    latin = [letter for letter in word if letter.isalpha()] if scripts == {"LATIN"} else []
    return len(scripts & _ALONE) > 1 or (len(latin) > 2 and not any(map(str.isascii, latin)))


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


def _says_the_same(sample: bytes, name: str, other: str) -> bool:
    """Whether the sample is the same text in both, and every byte of it means something."""
    text = decode(sample, other, final=False)
    return not text.replaced and text.text == decode(sample, name, final=False).text


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


def ensure_decodable(piece: Decoded, encoding: str, where: str) -> None:
    """Raises EncodingError, naming the file `where`, if more than a small share of the letters of a text, which are
    not ASCII, mean nothing in its encoding."""
    if piece.replaced <= _DAMAGE:
        return
    letters = len(piece.text) - len(piece.text.encode("ascii", "ignore"))
    if 10 * piece.replaced > letters:
        raise EncodingError(
            f"{piece.replaced:,} of {letters:,} letters in a part of it that are not ASCII mean nothing in {encoding}",
            where=where,
            todo="say what it is written in, such as --set source.encoding=cp1250, or take the file out",
        )


def last_line_end(data: bytes, encoding: str) -> int:
    """The offset behind the last line end in `data`; 0 where there is none."""
    mark = "\n".encode(encoding)
    end = len(data)
    while (at := data.rfind(mark, 0, end)) >= 0:
        if at % len(mark) == 0 or not encoding.startswith("utf"):
            return at + len(mark)
        end = at + len(mark) - 1
    return 0


class TranscodedStream(BufferedStream):
    """A stream in another encoding as UTF-8. Reading raises EncodingError, too."""

    def __init__(self, stream: ByteStream, encoding: str, where: str) -> None:
        """where: the file's name, for people."""
        super().__init__()
        self.replaced = 0
        """Characters so far that stand for bytes which mean nothing."""
        self._where = where
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
            ensure_decodable(piece, self._encoding, self._where)
            self.replaced += piece.replaced
            self._waiting, self._state = data[piece.used :], piece.state
            text = piece.text.removeprefix("\ufeff") if self._first else piece.text
            self._first = self._first and not piece.text
            if text or final:
                return text.encode()
