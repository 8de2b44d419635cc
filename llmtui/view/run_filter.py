"""Filters of the list of runs: `bard val<1.6 lr>=1e-3 tag:baseline state:failed -stories`.

Words are parts of names; terms compare a column of `llmtui.view.run_columns`, or a field of the recipe by its dotted
name or, if no other has it, its short one. All terms have to hold; `-` in front of one negates it. A run without a
value meets no comparison.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from core.errors import UsageError, did_you_mean
from llmtui.view.run_columns import ALIASES, COLUMNS, Column, Kind, Value, column_names, find_column, short_names
from llmtui.view.run_snapshot import RunSnapshot

EXAMPLE = "val<1.6 lr>=1e-3 tag:baseline state:failed n_layer=4 -word"

_WORD = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
_TERM = re.compile(r"([A-Za-z_][\w.]*)(<=|>=|!=|==|=|<|>|:)(.*)", re.DOTALL)

_COUNT = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
_UNITS: dict[Kind, dict[str, float]] = {
    "number": _COUNT,
    "bytes": {"": 1.0, "b": 1.0} | {f"{power}b": _COUNT[power] for power in "kmgt"} | {p: _COUNT[p] for p in "kmgt"},
    "seconds": {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0},
    "percent": {"": 1.0, "%": 1.0},
}
"""By kind of column, the suffixes of numbers in lower case, and what they are worth."""
_SUFFIXES = {"number": "3e-4 or 10M", "bytes": "1GB", "seconds": "2h", "percent": "50%"}
_NUMBER = re.compile(r"([+-]?(?:\d[\d_,]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z%]*)", re.IGNORECASE)

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "=": lambda a, b: math.isclose(a, b, rel_tol=1e-9),
    "!=": lambda a, b: not math.isclose(a, b, rel_tol=1e-9),
}


class RunFilterError(UsageError):
    doing = "filter the runs"


class Term(NamedTuple):
    """One condition."""

    holds: Callable[[RunSnapshot], bool]
    column: Column | None = None
    """What it compares; None for a word."""


class RunFilter(NamedTuple):
    """The conditions of a filter, and a sentence for each part of it that is invalid; not sanitised."""

    terms: tuple[Term, ...]
    problems: tuple[str, ...]

    def matches(self, snapshot: RunSnapshot) -> bool:
        """Whether all valid conditions hold."""
        return all(term.holds(snapshot) for term in self.terms)

    @property
    def measured(self) -> bool:
        """Whether it needs what `llmtui.view.run_snapshot.measure` reads."""
        return any(term.column and term.column.measured for term in self.terms)


def parse_filter(text: str) -> RunFilter:
    """The filter that `text` describes."""
    terms: list[Term] = []
    problems: list[str] = []
    for written in _WORD.findall(text):
        try:
            term = _parse(written.removeprefix("-").replace('"', ""))
        except RunFilterError as error:
            problems.append(f"{error.what}: {error.todo}" if error.todo else error.what)
            continue
        if term is not None:
            terms.append(_negated(term) if written.startswith("-") else term)
    return RunFilter(tuple(terms), tuple(problems))


def checked_filter(text: str) -> RunFilter:
    """As `parse_filter`. Raises RunFilterError if any part is invalid."""
    found = parse_filter(text)
    if found.problems:
        raise RunFilterError("; ".join(found.problems), todo=f"such as: {EXAMPLE}")
    return found


def _negated(term: Term) -> Term:
    return term._replace(holds=lambda snapshot: not term.holds(snapshot))


def _parse(written: str) -> Term | None:
    """The term `written`; None for an empty one. Raises RunFilterError."""
    match = _TERM.fullmatch(written)
    if match is None:
        word = written.lower()
        return Term(lambda snapshot: word in snapshot.run.name.lower()) if word else None
    name, operator, wanted = match[1], match[2].replace("==", "="), match[3]
    column = _column(name)
    if not wanted:
        raise RunFilterError(f"{written} lacks a value", todo=column.description.rstrip(".").lower())
    holds = (
        _text_test(name, operator, wanted) if column.kind == "text" else _number_test(column, name, operator, wanted)
    )

    def test(snapshot: RunSnapshot) -> bool:
        value = column.value(snapshot)
        return value is not None and holds(value)

    return Term(test, column)


def _column(name: str) -> Column:
    """What `name` means. Raises RunFilterError."""
    found = find_column(name.lower())
    if found:
        return found
    fields = short_names(name.lower())
    if len(fields) == 1:
        column = find_column(fields[0])
        assert column is not None
        return column
    if fields:
        raise RunFilterError(f"{name} is {_either(fields)}", todo="write one of them")
    known = [*column_names(), *ALIASES, *(field.partition(".")[2] for field in column_names() if "." in field)]
    hint = did_you_mean(name, known)
    raise RunFilterError(f"there is no column or recipe field {name!r}", todo=hint or f"such as {', '.join(COLUMNS)}")


def _either(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"


def _text_test(name: str, operator: str, wanted: str) -> Callable[[Value], bool]:
    if operator not in (":", "=", "!="):
        raise RunFilterError(f"{name} is text", todo=f"{name}:{wanted} contains it, {name}={wanted} equals it")
    text = wanted.lower()

    def holds(value: Value) -> bool:
        texts = [each.lower() for each in value] if isinstance(value, tuple) else [f"{value:g}"]
        if operator == ":":
            return any(text in each for each in texts)
        return (text in texts) == (operator == "=")

    return holds


def _number_test(column: Column, name: str, operator: str, wanted: str) -> Callable[[Value], bool]:
    match, units = _NUMBER.fullmatch(wanted), _UNITS[column.kind]
    if match is None or match[2].lower() not in units:
        raise RunFilterError(
            f"{wanted!r} is not a number that {name} can have", todo=f"such as {_SUFFIXES[column.kind]}"
        )
    number = float(match[1].replace(",", "").replace("_", "")) * units[match[2].lower()]
    compare = _COMPARE["=" if operator == ":" else operator]
    return lambda value: isinstance(value, int | float) and compare(value, number)
