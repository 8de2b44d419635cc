"""Cleaning steps for characters: wrong decoding, Unicode normalisation, control characters, case, punctuation."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftfy import TextFixerConfig

# C0 except tab and newline, DEL, C1; bidirectional overrides, which hide text; the byte order mark
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]+")
_UNWANTED_ASCII = bytes([*range(9), 11, 12, *range(14, 32), 127])
_LINE_END = re.compile("\r\n?")
_SPACES = re.compile(r"(?<=\S)  +")
_APOSTROPHES = re.compile("['\u2019]")
_PUNCTUATION = re.compile(r"[^\w\s]|_")

LONGEST_REPAIRED = 100_000
"""Characters of a line; longer ones, which are data rather than text, stay unchanged: ftfy is slow."""


@functools.cache
def _only_encoding() -> TextFixerConfig:
    from ftfy import TextFixerConfig

    return TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        restore_byte_a0=True,
        replace_lossy_sequences=True,
        decode_inconsistent_utf8=True,
        fix_c1_controls=True,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        fix_surrogates=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )


def unicode_repair(text: str, _last_flags: bool) -> str:
    """Repairs text that was decoded with the wrong encoding, such as `â€œlikeÂ this` (ftfy)."""
    if text.isascii():
        return text
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    if not is_bad(text):
        return text

    def repair(line: str) -> str:
        if line.isascii() or len(line) > LONGEST_REPAIRED:
            return line
        # repeated, so that the step is idempotent: repaired text can look damaged again
        for _ in range(4):
            repaired = fix_encoding(line, _only_encoding())
            if repaired == line:
                break
            line = repaired
        return line

    return "\n".join(map(repair, text.split("\n")))


def unicode_nfc(text: str, _last_flags: bool) -> str:
    """Normalises to composed characters (NFC)."""
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def control_characters(text: str, _last_flags: bool) -> str:
    """Removes control characters except newline and tab, and bidirectional overrides; line ends become `\\n`."""
    if "\r" in text:
        text = _LINE_END.sub("\n", text)
    if text.isascii():
        # ten times as fast as a regular expression
        data = text.encode()
        clean = data.translate(None, _UNWANTED_ASCII)
        return text if len(clean) == len(data) else clean.decode()
    # searching is four times as fast as replacing, and nearly every text is clean
    return _UNWANTED.sub("", text) if _UNWANTED.search(text) else text


def lower_case(text: str, _last_flags: bool) -> str:
    """Converts to lower case."""
    return text.lower()


def punctuation(text: str, _last_flags: bool) -> str:
    """Removes punctuation: apostrophes vanish, everything else but letters and digits becomes a space."""
    if not _PUNCTUATION.search(text):
        return text
    text = _APOSTROPHES.sub("", text)
    # combining marks belong to their letter: Devanagari is unreadable without them
    text = _PUNCTUATION.sub(lambda match: match[0] if unicodedata.category(match[0])[0] == "M" else " ", text)
    return _SPACES.sub(" ", text)
