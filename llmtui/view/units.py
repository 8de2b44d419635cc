"""Formatting of numbers: three significant digits and a unit."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from core.plural import NOT_FINITE, one, plural, scaled, size_text

_MAX_SECONDS = 1e10
"""Larger values, of three centuries, come from damaged files."""

size = size_text


def count(number: float) -> str:
    """A count: `3.41M`, `183k`, `4.10k`; integers below 1,000 are unchanged."""
    return scaled(number, ("", "k", "M", "B", "T"))


def flops(number: float) -> str:
    """Floating-point operations of a training, in powers of ten as papers have them: `3e+17`, `1.25e+18`."""
    return f"{number:.3g}" if 0 < number < math.inf else NOT_FINITE


def flops_rate(number: float) -> str:
    """Floating-point operations per second: `58.4 GFLOP/s`, `1.20 TFLOP/s`."""
    return scaled(number, tuple(f" {prefix}FLOP/s" for prefix in ("", "k", "M", "G", "T", "P")))


def many(number: float, noun: str) -> str:
    """A count and its noun: `1 token`, `3.41M tokens`."""
    return plural(number, noun, written=count(number))


def amount(number: float, unit: str) -> str:
    """A number and its `unit`, given as a plural: `12.1 MB`, `1 document`, `4.10k files`."""
    return size(number) if unit == "bytes" else f"{count(number)} {one(unit) if number == 1 else unit}"


def rate(number: float, unit: str) -> str:
    """`unit` per second: `183k tok/s`; bytes in decimal units: `12.1 MB/s`."""
    return f"{size(number)}/s" if unit == "bytes" else f"{count(number)} {unit}/s"


def duration(seconds: float) -> str:
    """A duration in its two largest units: `0.4s`, `42s`, `2m05s`, `1h42m`, `3d04h`."""
    if not 0 <= seconds < _MAX_SECONDS:
        return NOT_FINITE
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
    """Local time without the year: `11 Nov 21:04`. epoch: seconds since 1970."""
    try:
        moment = time.localtime(epoch)
    except (ValueError, OverflowError, OSError):  # NaN, or out of the range of the system
        return NOT_FINITE
    return f"{moment.tm_mday} {_MONTHS[moment.tm_mon - 1]} {moment.tm_hour:02d}:{moment.tm_min:02d}"


def cost(value: float, *, bound: bool = False) -> str:
    """A loss or bits per byte with three decimals: `1.462`; `≤1.462` for an upper bound."""
    if not abs(value) < 1e6:  # diverged or damaged
        return NOT_FINITE
    return f"{'≤' if bound else ''}{value:.3f}"


def perplexity(loss: float, *, bound: bool = False) -> str:
    """exp(loss), for a loss in nats per token: `24.8`; `≤24.8` for an upper bound."""
    if not -30 < loss < 30:  # diverged, or NaN
        return NOT_FINITE
    return f"{'≤' if bound else ''}{count(math.exp(loss))}"


def facts(known: Mapping[str, int | float | str]) -> str:
    """The facts of an artifact in one line: `734 documents, 12.1 MB`. Zeros are left out. Not sanitised."""
    shown = {name.replace("_", " "): value for name, value in known.items() if value not in (0, "")}
    bound = bool(shown.pop("bound", False))
    return ", ".join(_fact(name, value, bound) for name, value in shown.items())


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
"""Not by the locale: all text of the program is English."""
