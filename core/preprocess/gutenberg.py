"""Removes Project Gutenberg's headers, licences and credits from books, in their forms since 1991."""

from __future__ import annotations

import re
from typing import NamedTuple

_LONGEST = 30_000
"""Maximum characters of a header or a licence: those of 1994 to 2003 have 12,000, today's licence has 19,000."""
_PREFACE = 6_000
"""Maximum characters before the small print."""

# a title may span several lines, but no blank one
_TITLE = r"(?:[^*\n]|\*(?!\*\*)|\n(?![ \t\r]*\n)){0,400}\*{3,}|[^\n]*"
_BEGINS = re.compile(
    rf"""^[ \t]*(?:
      \*{{2,5}}[ ]?START\ OF\ (?:TH(?:E|IS)\ )?(?:COPYRIGHTED\ )?PROJECT\ GUTENBERG\b(?:{_TITLE})
    | \*+[ ]?END[ ]?(?:OF\ )?\**[ ]?(?:THE\ )?SMALL\ PRINT[^\n]*
    )\s*""",
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
"""End of a header: the book begins after it."""
_ENDS = re.compile(
    r"""^[ \t]*(?:
      \*{2,5}[ ]?END\ OF\ (?:TH(?:E|IS)\ )?(?:COPYRIGHTED\ )?PROJECT\ GUTENBERG\b
    | \**(?-i:E)nd\ of\ (?:th(?:e|is)\ )?Project\ Gutenberg(?:'s|\ E-?book|\ E-?text|\ edition|\ of|[ \t\r.]*$)
    | (?:(?-i:E)nde\ diese[sr]?|(?-i:F)in\ d[eu](?:\ ce)?)\ Proje[ck]t\ Gutenberg\b
    | \*{3}[ ]?START:\ FULL\ LICENSE
    | (?P<small>\*+[ ]?START[ ]?\*+[ ]?(?:THE\ )?SMALL\ PRINT)
    )""",
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
"""Beginning of a licence."""
_CREDITS = re.compile(
    r"""(?:(?:This|The)\ )?(?:(?:Project\ Gutenberg\ )?(?:E-?text|E-?book|HTML\ version|electronic\ version)\ )?
    (?:was\ |is\ )?(?:produced|prepared|scanned|transcribed|created|typed|converted)[^\n]{0,60}\ by\b
    [^\n]*(?:\n(?![ \t\r]*\n)[^\n]*){0,8}\s*""",
    re.IGNORECASE | re.VERBOSE,
)
"""The paragraph of credits after a header."""


class _Boundary(NamedTuple):
    start: int
    end: int
    begins: bool
    """Whether a book begins after it; otherwise a licence begins with it."""
    small: bool = False
    """The small print, which occurs before and after books."""


def remove_licence(text: str) -> str:
    """`text`, of one or several books, without Project Gutenberg's headers and licences.

    Removes text between the end of a book and the beginning of the next if it is no longer than a header and a
    licence can be. Everything else stays.
    """
    marks = [_Boundary(match.start(), match.end(), True) for match in _BEGINS.finditer(text)]
    marks += [_Boundary(match.start(), match.start(), False, bool(match["small"])) for match in _ENDS.finditer(text)]
    kept: list[str] = []
    at, inside = 0, True
    for mark in sorted(marks):
        stretch = text[at : mark.start]
        if mark.begins:
            first = at == 0 and not kept and inside
            header = first or not inside or "gutenberg" in stretch.lower()
            limit = _LONGEST if inside else 2 * _LONGEST  # after a book its licence and the next header
            kept += [] if header and len(stretch) <= limit else [stretch]
            at, inside = mark.end, True
            while thanks := _CREDITS.match(text, at):
                at = thanks.end()
        elif inside:
            preface = at == 0 and mark.small and len(stretch) <= _PREFACE and "gutenberg" in stretch.lower()
            kept += [] if preface else [stretch]
            at, inside = mark.start, False
    if inside or len(text) - at > _LONGEST:
        kept.append(text[at:])
    return "".join(kept)
