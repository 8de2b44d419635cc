"""Numbers in sentences: counts with their nouns in singular or plural, and sizes."""

from __future__ import annotations

NOT_FINITE = "–"
"""Shown for numbers that are infinite, NaN or implausible, such as a diverged loss."""

_MAX_NUMBER = 1e24
"""Larger values come from damaged files."""


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


def size_text(number: float) -> str:
    """Bytes in decimal (SI) units: `12.1 MB`."""
    return scaled(number, (" B", " kB", " MB", " GB", " TB", " PB"))


def scaled(number: float, units: tuple[str, ...]) -> str:
    """`number` with three digits in the largest unit in which it is at least 1; units are a factor of 1,000 apart."""
    if not abs(number) < _MAX_NUMBER:  # an int may be too large to convert to float
        return NOT_FINITE
    power = 0
    # 999.5 would be rounded to 1000
    while abs(number) >= 999.5 and power < len(units) - 1:
        number, power = number / 1000, power + 1
    if power == 0 and number == int(number):
        return f"{int(number)}{units[0]}"
    digits = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
    return f"{number:.{digits}f}{units[power]}"
