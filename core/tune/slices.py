"""What the results of a study say about each field, and how its best result came about: pure functions of its trials.

The command line (`llmtui tune slices`) and the screen of a study show the same data.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from core.recipe.schema import Recipe
from core.tune.space import Choice, Parameter, Space, field_value
from core.tune.study import Trial

GROUPS = 5
"""Parts of equal width into which the values of a range are divided, in the logarithm if the range is logarithmic."""


class SlicePoint(NamedTuple):
    """A trial that is done."""

    number: int
    """Of the trial."""
    value: Any
    """Of the field."""
    bits_per_byte: float


class SliceGroup(NamedTuple):
    """The results of one value of a list, or of a part of a range."""

    low: Any
    high: Any
    """The value of a list twice; of a range the smallest and the largest value that a trial had in this part."""
    n: int
    """Trials."""
    best: float
    median: float
    """Bits per byte."""


class Slice(Struct, frozen=True, kw_only=True):
    """The objective against one field, all others as they were in each trial."""

    key: str
    is_numeric: bool
    """Whether the values are numbers of a range, or a list of numbers, so that they have an axis."""
    log: bool
    """Whether that axis is logarithmic."""
    points: tuple[SlicePoint, ...]
    """By value if numeric, else in the order of the list; of equal values by number."""
    groups: tuple[SliceGroup, ...]
    """In the same order; only groups that have trials."""


class Improvement(NamedTuple):
    """A trial that was better than all that had ended before it."""

    number: int
    """Of the trial."""
    bits_per_byte: float
    ended: int
    """Trials that had ended by then, this one included, whatever their outcome."""
    training_seconds: float
    """Of training of all trials that had ended by then, together."""
    at: float
    """When it ended, in seconds since the epoch."""


def slices(space: Space, recipe: Recipe, trials: Sequence[Trial]) -> list[Slice]:
    """One slice for each field of the space that at least one finished trial has a value of, in the order of the space.

    A trial that was inserted by hand without a value of a field has that of the recipe. Fields whose condition does not
    hold in a trial have no point for it.
    """
    done = [trial for trial in trials if trial.bits_per_byte is not None]
    found = []
    for parameter in space.parameters:
        points = [
            SlicePoint(trial.number, trial.values.get(parameter.key, field_value(recipe, parameter.key)), bits)
            for trial in done
            if (bits := trial.bits_per_byte) is not None and parameter in space.applying(recipe, trial.values)
        ]
        if points:
            found.append(_slice(parameter, points))
    return found


def improvements(trials: Sequence[Trial]) -> list[Improvement]:
    """The best result so far over time: each trial that was better than those before it, in the order of their ends."""
    found: list[Improvement] = []
    seconds, count = 0.0, 0
    for trial in sorted((trial for trial in trials if trial.ended), key=_ended_at):
        assert trial.ended is not None
        seconds, count = seconds + trial.ended.seconds, count + 1
        bits = trial.bits_per_byte
        if bits is not None and (not found or bits < found[-1].bits_per_byte):
            found.append(Improvement(trial.number, bits, count, seconds, trial.ended.at))
    return found


def _ended_at(trial: Trial) -> tuple[float, int]:
    return (trial.ended.at if trial.ended else math.inf, trial.number)


def _slice(parameter: Parameter, points: list[SlicePoint]) -> Slice:
    domain = parameter.domain
    numeric = all(_is_number(point.value) for point in points)
    log = not isinstance(domain, Choice) and domain.log
    if numeric:
        points.sort(key=lambda point: (point.value, point.number))
    elif isinstance(domain, Choice):
        order = [_key(value) for value in domain.values]
        points.sort(key=lambda point: order.index(k) if (k := _key(point.value)) in order else len(order))
    grouped: dict[Any, list[SlicePoint]] = {}
    for point in points:
        grouped.setdefault(_part(parameter, point.value), []).append(point)
    return Slice(
        key=parameter.key,
        is_numeric=numeric,
        log=log,
        points=tuple(points),
        groups=tuple(_group(members) for members in grouped.values()),
    )


def _part(parameter: Parameter, value: Any) -> Any:
    """What the values of one group have in common: the value itself, or the number of the part of a range."""
    domain = parameter.domain
    if isinstance(domain, Choice) or not parameter.contains(value):  # inserted by hand, or of an earlier space
        return _key(value)
    distance = domain.step or (1.0 if parameter.integer else 0.0)
    if domain.high - domain.low < GROUPS * distance:  # so few values that each is a group
        return _key(value)
    low, high, at = (math.log(number) if domain.log else number for number in (domain.low, domain.high, value))
    return min(GROUPS - 1, int(GROUPS * (at - low) / (high - low))) if high > low else 0


def _group(points: Sequence[SlicePoint]) -> SliceGroup:
    bits = [point.bits_per_byte for point in points]
    return SliceGroup(points[0].value, points[-1].value, len(points), min(bits), statistics.median(bits))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(value: Any) -> bytes:
    return msgspec.json.encode(value)
