"""Cleaning steps for white space."""

from __future__ import annotations

import re

_RUNS = re.compile(r"(?<=\S)  +")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){3,}")


def trailing_space(text: str, last: bool) -> str:
    """Removes white space at the end of lines, and ends the document with exactly one newline.

    White space at the end of a part that is not the last stays, since the text continues in the next.
    """
    # a regular expression takes quadratic time on a long line of spaces
    *lines, rest = text.split("\n")
    stripped = "\n".join([*map(str.rstrip, lines), rest])
    if last:
        stripped = stripped.rstrip()
        stripped = stripped + "\n" if stripped else ""
    return text if stripped == text else stripped


def more_than_a_newline(before: str, after: str) -> bool:
    """Whether `after` differs from `before` by more than an appended newline, which most files lack at their end."""
    return after not in (before, before + "\n")


def spaces(text: str, _last_flags: bool) -> str:
    """Reduces white space to one space between words and two blank lines in a row; indentation stays.

    Blank lines at the boundary of two parts of a document are counted separately.
    """
    if "  " in text:
        text = _RUNS.sub(" ", text)
    return _BLANK_LINES.sub("\n\n\n", text)
