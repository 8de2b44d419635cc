"""Steps about white space."""

from __future__ import annotations

import re

_RUNS = re.compile(r"(?<=\S)  +")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){3,}")


def trailing_space(text: str, last: bool) -> str:
    """No space at the end of lines, and at the end of the document exactly one newline.

    Of a long document the white space at the very end of a part stays: what follows is in the next.
    """
    # not a regular expression: on a long line of spaces that takes quadratic time
    *lines, rest = text.split("\n")
    stripped = "\n".join([*map(str.rstrip, lines), rest])
    if last:
        stripped = stripped.rstrip()
        stripped = stripped + "\n" if stripped else ""
    return text if stripped == text else stripped


def more_than_a_newline(before: str, after: str) -> bool:
    """Whether `after` differs in more than the newline at the end that `before` has not: most files end without one,
    and what is told of them would be of no space at all."""
    return after not in (before, before + "\n")


def spaces(text: str, _last: bool) -> str:
    """One space between words, at most two blank lines in a row; the indentation of lines stays.

    Blank lines on both sides of a long document's part border are counted apart.
    """
    if "  " in text:
        text = _RUNS.sub(" ", text)
    return _BLANK_LINES.sub("\n\n\n", text)
