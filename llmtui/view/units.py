"""Numbers as a person reads them: three significant digits, the unit beside them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from core.plural import one, plural

_NO_FIGURE = "–"
"""Stands where a number is not finite: a diverged loss must not pass for a figure."""

_LONGEST, _LARGEST = 1e10, 1e24
"""Seconds, three centuries, and anything else: what is more is no figure but damage."""


def count(number: float) -> str:
    """How many: `3.41M`, `183k`, `4.10k`; below a thousand whole numbers stay whole."""
    return _scaled(number, ("", "k", "M", "B", "T"))


def many(number: float, noun: str) -> str:
    """So many of them: `1 token`, `3.41M tokens`."""
    return plural(number, noun, written=count(number))


def amount(number: float, unit: str) -> str:
    """So much of what is measured in `unit`, a plural: `12.1 MB`, `1 document`, `4.10k files`."""
    return size(number) if unit == "bytes" else f"{count(number)} {one(unit) if number == 1 else unit}"


def size(number: float) -> str:
    """Bytes in decimal units, as disks and networks are sold: `12.1 MB`."""
    return _scaled(number, (" B", " kB", " MB", " GB", " TB", " PB"))


def rate(number: float, unit: str) -> str:
    """So many `unit` a second: `183k tok/s`; bytes get their own prefixes: `12.1 MB/s`."""
    return f"{size(number)}/s" if unit == "bytes" else f"{count(number)} {unit}/s"


def duration(seconds: float) -> str:
    """A span of time in its two largest units: `0.4s`, `42s`, `2m05s`, `1h42m`, `3d04h`."""
    if not 0 <= seconds < _LONGEST:
        return _NO_FIGURE
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    hours = round(seconds / 3600)
    return f"{hours // 24}d{hours % 24:02d}h"


def clock(epoch: float) -> str:
    """A moment in local time, without the year: `11 Nov 21:04`. epoch: seconds since 1970."""
    try:
        moment = time.localtime(epoch)
    except (ValueError, OverflowError, OSError):  # no number, or no year that the system knows
        return _NO_FIGURE
    return f"{moment.tm_mday} {_MONTHS[moment.tm_mon - 1]} {moment.tm_hour:02d}:{moment.tm_min:02d}"


def cost(value: float, *, bound: bool = False) -> str:
    """A loss or bits per byte in the digits that mean something: `1.462`; `≤1.462` where it is at most so much."""
    if not abs(value) < 1e6:  # no cost of anything: diverged, or damage
        return _NO_FIGURE
    return f"{'≤' if bound else ''}{value:.3f}"


def perplexity(loss: float, *, bound: bool = False) -> str:
    """Among how many equally likely tokens the model wavers at a loss in nats per token: `24.8`, `≤24.8`."""
    if not -30 < loss < 30:  # diverged, or no number
        return _NO_FIGURE
    return f"{'≤' if bound else ''}{count(math.exp(loss))}"


def facts(known: Mapping[str, int | float | str]) -> str:
    """What an artifact holds, in one line: `734 documents, 12.1 MB`. Not sanitised; zeros are left out."""
    told = {name.replace("_", " "): value for name, value in known.items() if value not in (0, "")}
    bound = bool(told.pop("bound", False))
    return ", ".join(_fact(name, value, bound) for name, value in told.items())


def _fact(name: str, value: int | float | str, bound: bool) -> str:
    if isinstance(value, str):
        return f"{name} {value}"
    if name == "loss":
        return f"loss {cost(value, bound=bound)}"
    if name == "bits per byte":
        return f"{cost(value, bound=bound)} bits per byte"
    if value == 1:
        name = one(name)
    if name in ("step", "vocabulary size"):
        return f"{name} {value:,}" if isinstance(value, int) and abs(value) < 2**63 else f"{name} {count(value)}"
    if name == "bytes":
        return size(value)
    if name.endswith(" bytes"):
        return f"{size(value)} {name.removesuffix(' bytes')}"
    return f"{value:,} {name}" if isinstance(value, int) and abs(value) < 1_000_000 else f"{count(value)} {name}"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""English whatever the locale, as all other text is."""


def _scaled(number: float, units: tuple[str, ...]) -> str:
    """`number` in the largest of `units`, a factor of 1,000 apart, that leaves at least 1, in three digits."""
    if not abs(number) < _LARGEST:  # compared, not converted: a whole number may be too large for a float
        return _NO_FIGURE
    power = 0
    # 999.5 of a unit would be written as 1000: it belongs to the next one
    while abs(number) >= 999.5 and power < len(units) - 1:
        number, power = number / 1000, power + 1
    if power == 0 and number == int(number):
        return f"{int(number)}{units[0]}"
    digits = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
    return f"{number:.{digits}f}{units[power]}"
