"""English text from this machine: documents of about 4 kB out of its manuals, no paragraph twice.

As the corpus of `performance.md` T4: /usr/share/doc, manual pages, Python's library, Perl's and vim's documentation.
"""

from __future__ import annotations

import gzip
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

DIRECTORIES = (
    *(f"/usr/share/{name}" for name in ("doc", "man", "info", "perl", "vim")),
    sysconfig.get_path("stdlib"),
    "/usr/lib/python3",
    sysconfig.get_path("purelib"),
)
SUFFIXES = {"", ".gz", ".txt", ".py", ".pod", ".pm", ".pl", ".rst", ".md", ".info", ".1"}
DOCUMENT = 4_000
"""Characters after which a document ends."""
_SHORTEST, _LONGEST = 80, 20_000
"""Characters of a paragraph: headings and tables are none."""


def documents(limit: int) -> Iterator[str]:
    """Documents of `limit` bytes in all, or of what there is; the same on the same machine."""
    held: list[str] = []
    length = taken = 0
    for paragraph in _paragraphs():
        held.append(paragraph)
        length += len(paragraph) + 2
        if length >= DOCUMENT:
            text = "\n\n".join(held)
            yield text
            taken += len(text.encode())
            held, length = [], 0
            if taken >= limit:
                return


def varied(limit: int) -> Iterator[str]:
    """As `documents`, and when the machine has no more, the same words again in another order."""
    texts = list(documents(limit))
    limit -= sum(len(text.encode()) for text in texts)
    yield from texts
    dice = random.Random(1)
    while limit > 0:
        for text in texts:
            words = text.split(" ")
            dice.shuffle(words)
            mixed = " ".join(words)
            yield mixed
            limit -= len(mixed.encode())
            if limit <= 0:
                return


def sentences(limit: int) -> Iterator[str]:
    """The same text in documents of about 65 bytes, as the rows of BookCorpus are."""
    for text in documents(limit):
        for line in text.split("\n"):
            if line:
                yield line


def _paragraphs() -> Iterator[str]:
    seen: set[int] = set()
    for text in _texts():
        for paragraph in text.split("\n\n"):
            if not _SHORTEST <= len(paragraph) <= _LONGEST or hash(paragraph) in seen:
                continue
            if sum(map(str.isalpha, paragraph)) + paragraph.count(" ") < 0.7 * len(paragraph):
                continue
            seen.add(hash(paragraph))
            yield paragraph


def _texts() -> Iterator[str]:
    for directory in DIRECTORIES:
        for path in sorted(Path(directory).rglob("*")):
            if path.suffix not in SUFFIXES or path.is_symlink() or not path.is_file():
                continue
            try:
                data = path.read_bytes()
                text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
            except (OSError, EOFError, ValueError):
                continue
            if "\0" not in text:
                yield text
