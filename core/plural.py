"""Counts with their nouns in singular or plural."""

from __future__ import annotations


def plural(number: float, noun: str, *, written: str = "") -> str:
    """`1 document`, `2 documents`, `1,204 entries`. written: the number as already formatted, such as 3.41M."""
    return f"{written or format(number, ',')} {noun if number == 1 else many(noun)}"


def verb(number: float, single: str, several: str) -> str:
    """The verb form that agrees with `number`: `verb(lost, "was", "were")`."""
    return single if number == 1 else several


def many(noun: str) -> str:
    """The plural of `noun`, such as entry, process or cleaning step."""
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "sh", "ch")) else "s")


def one(nouns: str) -> str:
    """The singular of `nouns`, such as documents, files or entries."""
    return nouns[:-3] + "y" if nouns.endswith("ies") else nouns.removesuffix("s")
