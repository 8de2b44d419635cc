"""Which column or field of a record is its text."""

from __future__ import annotations

from collections.abc import Sequence

from core.trouble import Usage

USUAL = ("text", "content")
"""What the text is called nearly everywhere; the first goes before the second."""


class NoColumn(Usage):
    """Nobody can tell which column holds the text."""

    doing = "find the text"


def choose(wanted: str, texts: Sequence[str], others: Sequence[str] = (), where: str = "") -> str:
    """The column to take the text from.

    wanted: what the recipe names, or "". texts: the columns that hold text. others: those that hold something else.
    Raises NoColumn with all there are.
    """
    if wanted in texts:
        return wanted
    there = "it has " + (", ".join(map(repr, [*texts, *others][:20])) or "none")
    if wanted:
        what = f"{wanted!r} holds no text" if wanted in others else f"there is no column {wanted!r}; {there}"
        raise NoColumn(what, where=where, todo="say which: --set source.column=NAME")
    if len(texts) == 1:
        return texts[0]
    for usual in USUAL:
        if usual in texts:
            return usual
    if not texts:
        raise NoColumn(f"no column holds text; {there}", where=where)
    candidates = ", ".join(map(repr, texts[:20])) + (" …" if len(texts) > 20 else "")
    raise NoColumn(
        f"the text may be in any of several columns: {candidates}",
        where=where,
        todo="say which: --set source.column=NAME",
    )
