"""The cleaning steps: each rewrites texts, or decides which documents go."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple, Protocol

# C0 but tab and newline, DEL, C1; overrides of the writing direction, which hide text; the byte order mark
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]+")
_LINE_END = re.compile("\r\n?")


class Filter(Protocol):
    """Looks at the documents one after the other, part by part, and says after each whether it goes."""

    def read(self, text: str) -> None:
        """Take one part of the present document."""

    def removes(self) -> bool:
        """Whether the document that was read goes; what is read next belongs to another."""


Rewrite = Callable[[str, bool], str]
"""Text of a part, whether the document ends with it → cleaned text."""


class Step(NamedTuple):
    """One cleaning step, either a `rewrite` or a `filter`."""

    name: str
    why: str
    rewrite: Rewrite | None = None
    filter: Callable[[], Filter] | None = None


def unicode_nfc(text: str, _last: bool) -> str:
    """Composed characters (NFC)."""
    return unicodedata.normalize("NFC", text)


def control_characters(text: str, _last: bool) -> str:
    """Only newlines and tabs of the control characters, all line ends `\\n`, no overrides of direction."""
    text = _LINE_END.sub("\n", text)
    # searching is four times as fast as replacing, and nearly every text is clean
    return _UNWANTED.sub("", text) if _UNWANTED.search(text) else text


def trailing_space(text: str, last: bool) -> str:
    """No space at the end of lines, and at the end of the document exactly one newline."""
    # not a regular expression: on a long line of spaces that takes quadratic time
    *lines, rest = text.split("\n")
    stripped = "\n".join([*(line.rstrip() for line in lines), rest])
    if not last:
        return stripped
    stripped = stripped.rstrip()
    return stripped + "\n" if stripped else ""


class Blank:
    """Removes documents that are nothing but white space."""

    def __init__(self) -> None:
        self._blank = True

    def read(self, text: str) -> None:
        self._blank = self._blank and not text.strip()

    def removes(self) -> bool:
        blank, self._blank = self._blank, True
        return blank


class Repeated:
    """Removes every document but the first of those with the same text, compared by a 128-bit digest.

    Takes about 100 bytes of memory for each different document.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._digest = blake2b(digest_size=16)

    def read(self, text: str) -> None:
        self._digest.update(text.encode())

    def removes(self) -> bool:
        digest, self._digest = self._digest.digest(), blake2b(digest_size=16)
        repeated = digest in self._seen
        self._seen.add(digest)
        return repeated


STEPS = {
    step.name: step
    for step in (
        Step("unicode_nfc", "one character, one spelling", rewrite=unicode_nfc),
        Step("control_characters", "they steer terminals and are no text", rewrite=control_characters),
        Step("trailing_space", "invisible, and a cost to every model", rewrite=trailing_space),
        Step("empty", "nothing to learn from", filter=Blank),
        Step("duplicates", "learned by heart, and leaks from training into validation", filter=Repeated),
    )
}
