"""Detects the encoding of a text, and decodes it incrementally."""

from __future__ import annotations

import codecs
import contextlib
import re
import unicodedata
from typing import NamedTuple

from core.parsing import BYTE_ORDER_MARKS, decode_text

SAMPLE_BYTES = 2**16
"""Bytes that are examined at the beginning, and again in the middle."""
_TOO_FEW = 2
"""Up to this number of non-ASCII bytes among more ASCII ones, statistics do not help."""
_QUOTES = b"\x85\x91\x92\x93\x94\x95\x96\x97"
"""Ellipsis, quotation marks and dashes in all Windows encodings: if there is little else, it is one of them."""
_LATIN_9 = re.compile(rb"\xa4|[A-Za-z]\xbd|\xbd[a-z]")
"""A euro sign or œ in ISO 8859-15; in cp1252 the same bytes are a currency sign and ½."""

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
"""If a sample decodes to the same text in both: the more common encoding, which defines more bytes."""
_MAGIC = (
    b"%PDF-",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ\0",
    b"PK\x03\x04",
    b"BZh91AY",
    b"\x89PNG",
    b"\xff\xd8\xff",
)
"""First bytes of binary formats."""
_WORD = re.compile(rb"\S*[\x80-\xff]\S*")
_NOT_ASCII = re.compile("[A-Za-z]*[^\0-\x7f][A-Za-z\x80-\U0010ffff]*")
_UNMIXED_SCRIPTS = {"LATIN", "GREEK", "CYRILLIC", "HEBREW", "ARABIC", "THAI"}
"""Scripts that do not mix within a word."""
_IMPLAUSIBLE_DIVISOR = 5
"""A fifth of the non-ASCII words may be implausible: prices, dashes without spaces, abbreviations."""
_HIGH = bytes(range(128, 256))
_ASCII = bytes(range(128))
_UNPRINTABLE = re.compile(r"[^\t\n\f\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffc\U00010000-\U0010ffff]")


def detect_encoding(head: bytes, middle: bytes = b"", *, max_nul_share: float = 0.0, declared: str = "") -> str:
    """The name of the encoding of a text, from bytes of its beginning and middle; "" for binary data.

    max_nul_share: share of NUL bytes near the beginning up to which data counts as text. declared: the encoding given
    by the user, which only a byte order mark overrides.
    """
    for bom, name in BYTE_ORDER_MARKS:
        if head.startswith(bom):
            return name
    if head.startswith(_MAGIC):
        return ""
    start = head[:8192]
    if declared in ("utf-16", "utf-32"):  # without a byte order mark, the byte order is unknown
        return _wide(start) or f"{declared}-le"
    if declared.startswith(("utf-16", "utf-32")):
        return declared
    if b"\0" in start and ((wide := _wide(start)) or start.count(0) > max_nul_share * len(start)):
        return wide
    if declared:
        return declared
    # without the first, incomplete line, which may begin in the middle of a character
    middle = middle.partition(b"\n")[2]
    sample = head + middle
    # a piece of ASCII only carries no information, but would bias the guess towards English
    pieces = [piece for piece in (head, middle) if not piece.isascii()] or [sample]
    lines = b"".join(piece[: piece.rfind(b"\n") + 1] or piece for piece in pieces)
    if sample.isascii():
        return _guess(lines) if b"\x1b$" in lines else "utf-8"  # ISO 2022 switches character sets with ESC $
    if all(is_utf8(piece) for piece in (head, middle)):
        return "utf-8"
    valid = len(sample.decode("utf-8", "ignore").encode())
    if 2 * valid - len(sample) >= len(sample.translate(None, _HIGH)):  # more letters are valid UTF-8 than not:
        return "utf-8"  # damaged in places, or two encodings: reported when it is read
    return _guess(lines)


def is_utf8(piece: bytes) -> bool:
    """Whether `piece` is valid UTF-8, apart from an incomplete last character."""
    try:
        codecs.utf_8_decode(piece, "strict", False)
    except UnicodeDecodeError:
        return False
    return True


def decode_detected(raw: bytes, declared: str = "") -> tuple[str, str]:
    """The text in `raw` and its encoding: UTF-8 if it is valid, else the one found by `detect_encoding`.

    A byte order mark is removed, and not mentioned. Both are empty for binary data. declared: as `detect_encoding`
    takes it.
    """
    with contextlib.suppress(UnicodeDecodeError):
        text = decode_text(raw)
        if "\0" not in text:  # else it may be UTF-16 without a byte order mark
            return text, "utf-8"
    head, rest = raw[:SAMPLE_BYTES], raw[SAMPLE_BYTES:]
    middle = b"\n" + (from_first_non_ascii(rest) if head.isascii() else rest[len(rest) // 2 :][:SAMPLE_BYTES])
    encoding = detect_encoding(head, middle, declared=declared)
    return (decode(raw, encoding, final=True).text.removeprefix("\ufeff") if encoding else ""), encoding


def from_first_non_ascii(piece: bytes) -> bytes:
    """Up to SAMPLE_BYTES of `piece` from its first line with a non-ASCII byte on; none of ASCII alone."""
    if piece.isascii():
        return b""
    first = len(piece) - len(piece.lstrip(_ASCII))
    return piece[piece.rfind(b"\n", 0, first) + 1 :][:SAMPLE_BYTES]


def _wide(head: bytes) -> str:
    """UTF-16 or UTF-32 without a byte order mark: the one that gives text with the most spaces and newlines."""
    scores: dict[str, int] = {}
    for width, names in ((4, ("utf-32-le", "utf-32-be")), (2, ("utf-16-le", "utf-16-be"))):
        for name in names:
            try:
                text = codecs.getincrementaldecoder(name)().decode(head[: len(head) // width * width])
            except UnicodeDecodeError:
                continue
            unprintable = len(_UNPRINTABLE.findall(text)) + sum(
                unicodedata.category(letter) in ("Cn", "Co") for letter in text
            )
            if len(text) < 4 or 200 * unprintable > len(text):
                continue
            if width == 2 and 2 * sum(letter < "\u0100" for letter in text) < head.count(0):
                continue  # most NUL bytes are halves of spaces, newlines and Latin letters
            scores[name] = 1 + sum(map(text.count, " \n\r"))
        if scores:
            break
    return max(scores, key=lambda name: scores[name], default="")


def _guess(sample: bytes) -> str:
    high = len(sample.translate(None, _ASCII))
    if 0 < high <= _TOO_FEW and 2 * high < len(sample) and _decodes_equally(sample, "cp1252", "cp1252"):
        return "cp1252"
    from chardet import detect, detect_all
    from chardet.enums import EncodingEra

    era = EncodingEra(EncodingEra.ALL & ~EncodingEra.MAINFRAME)  # EBCDIC
    if 2 * (high - len(sample.translate(None, _ASCII + _QUOTES))) >= high > 0:
        era = EncodingEra.MODERN_WEB
    # the newline prevents chardet from taking "BM" at the beginning for a bitmap
    result = detect(b"\n" + sample, max_bytes=len(sample) + 1, encoding_era=era, compat_names=False)
    if not result["encoding"]:
        return ""
    name = codecs.lookup(result["encoding"]).name
    if _has_implausible_words(sample, name):
        # ASCII in other columns or in code counts as English for chardet: guess from the other words alone
        words = b" ".join(_WORD.findall(sample))
        guesses = detect_all(b"\n" + words, max_bytes=len(words) + 1, encoding_era=era, compat_names=False)
        others = (codecs.lookup(str(guess["encoding"])).name for guess in guesses if guess["encoding"])
        name = next((other for other in others if not _has_implausible_words(sample, other)), name)
    if name == "iso8859-15" and not _LATIN_9.search(sample):
        name = "cp1252"
    better = ("cp1252", _SUPERSETS.get(name, name))
    return next((other for other in better if _decodes_equally(sample, name, other)), name)


def _has_implausible_words(sample: bytes, encoding: str) -> bool:
    """Whether more than a fifth of the non-ASCII words are implausible in `encoding`: with symbols or control
    characters inside, letters of two scripts, or Latin letters of which none is ASCII."""
    words = _NOT_ASCII.findall(decode(sample, encoding, final=True).text)
    return _IMPLAUSIBLE_DIVISOR * sum(map(_is_implausible, words)) > len(words)


def _is_implausible(word: str) -> bool:
    if any("\x7f" <= letter < "\xa0" and letter != "\x85" for letter in word) or "\ufffd" in word:
        return True
    if any(unicodedata.category(letter)[0] in "SNC" or letter in "¿¡" for letter in word[1:-1] if not letter.isascii()):
        return True
    scripts = {_script(letter) for letter in word if letter.isalpha()}
    latin = [letter for letter in word if letter.isalpha()] if scripts == {"LATIN"} else []
    return len(scripts & _UNMIXED_SCRIPTS) > 1 or (len(latin) > 2 and not any(map(str.isascii, latin)))


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


def _decodes_equally(sample: bytes, name: str, other: str) -> bool:
    """Whether the sample decodes to the same text in both encodings, without undefined bytes."""
    text = decode(sample, other, final=False)
    return not text.replaced and text.text == decode(sample, name, final=False).text


class Decoded(NamedTuple):
    """The text of some bytes."""

    text: str
    used: int
    """Bytes that were decoded; the rest is an incomplete character."""
    state: int
    """State of the decoder, to continue from."""
    replaced: int
    """Undefined bytes that were replaced by U+FFFD."""


def decode(data: bytes, encoding: str, state: int = 0, *, final: bool) -> Decoded:
    """Decode `data` up to its last complete character. final: no data follows."""
    if encoding == "utf-8":
        text, used = codecs.utf_8_decode(data, "replace", final)
        after = 0
    else:
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        if state:  # CPython's ISO-2022 decoders crash on a state of 0, which they never return
            decoder.setstate((b"", state))
        text = decoder.decode(data, final)
        pending, after = decoder.getstate()
        used = len(data) - len(pending)
    replaced = text.count("\ufffd")
    if replaced and (encoding.startswith("utf") or encoding == "gb18030"):
        replaced = max(0, replaced - data[:used].count("\ufffd".encode(encoding)))
    return Decoded(text, used, after, replaced)


def last_line_end(data: bytes, encoding: str) -> int:
    """The offset after the last newline in `data`; 0 if there is none."""
    newline = "\n".encode(encoding)
    end = len(data)
    while (index := data.rfind(newline, 0, end)) >= 0:
        if index % len(newline) == 0 or not encoding.startswith("utf"):
            return index + len(newline)
        end = index + len(newline) - 1
    return 0
