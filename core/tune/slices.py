"""What the results of a study say about each field, and how its best result came about: pure functions of its trials.

With successive halving, results at a rung are compared as far as more trials have one than are done, see
`core.tune.halving.comparable`. The command line (`llmtui tune slices`) and the screen of a study show the same data.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from core.recipe.schema import Recipe
from core.tune.halving import comparable
from core.tune.space import Choice, Parameter, Space, field_value
from core.tune.trials import Trial

GROUPS = 5
"""Parts of equal width into which the values of a range are divided, in the logarithm if the range is logarithmic."""


class SlicePoint(NamedTuple):
    """The result of a trial."""

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
    share: float
    """Of their training, where all results were measured; 1: at the end."""
    points: tuple[SlicePoint, ...]
    """By value if numeric, else in the order of the list; of equal values by number."""
    groups: tuple[SliceGroup, ...]
    """In the same order; only groups that have trials."""


class Improvement(NamedTuple):
    """A result that was better than all before it."""

    number: int
    """Of the trial."""
    bits_per_byte: float
    trials: int
    """Trials that had a result by then, or had ended without one, this one included."""
    training_seconds: float
    """Of training of all trials by then, together, as far as it is known from their results and rungs."""
    at: float
    """When it was measured, in seconds since the epoch."""


class _Result(NamedTuple):
    """The result of a trial at some time."""

    at: float
    number: int
    share: float
    """Of its training; 1: it has ended."""
    bits_per_byte: float | None
    seconds: float
    """Of training of this trial."""


def slices(space: Space, recipe: Recipe, trials: Sequence[Trial]) -> list[Slice]:
    """One slice for each field of the space that at least one result has a value of, in the order of the space.

    A trial that was inserted by hand without a value of a field has that of the recipe. Fields whose condition does not
    hold in a trial have no point for it.
    """
    share, results = comparable(trials)
    found = []
    for parameter in space.parameters:
        points = [
            SlicePoint(trial.number, trial.values.get(parameter.key, field_value(recipe, parameter.key)), bits)
            for trial in trials
            if (bits := results.get(trial.number)) is not None and parameter in space.applying(recipe, trial.values)
        ]
        if points:
            found.append(_slice(parameter, points, share))
    return found


def improvements(trials: Sequence[Trial], share: float = 1.0) -> list[Improvement]:
    """The best result so far over time: each result that was better than those before it, in their order.

    share: of the training, where the results are compared; 1: the results of trials that are done.
    """
    found: list[Improvement] = []
    positions = {number: position for position, number in enumerate(arrivals(trials, share), 1)}
    seconds: dict[int, float] = {}
    for result in _results(trials):
        seconds[result.number] = result.seconds
        bits = result.bits_per_byte if result.share == share else None
        if bits is not None and (not found or bits < found[-1].bits_per_byte):
            found.append(Improvement(result.number, bits, positions[result.number], sum(seconds.values()), result.at))
    return found


def arrivals(trials: Sequence[Trial], share: float = 1.0) -> list[int]:
    """The numbers of the trials that have done this share of their training, or have ended, in the order of that."""
    return list(dict.fromkeys(result.number for result in _results(trials) if result.share >= share))


def _results(trials: Sequence[Trial]) -> list[_Result]:
    """Those at rungs, and the ends, in the order in which they came."""
    found = [
        _Result(rung.at, trial.number, rung.share, rung.bits_per_byte, rung.seconds)
        for trial in trials
        for rung in trial.rungs
    ]
    for trial in trials:
        if trial.ended:
            found.append(_Result(trial.ended.at, trial.number, 1.0, trial.bits_per_byte, trial.ended.seconds))
    return sorted(found, key=lambda result: result[:3])


def _slice(parameter: Parameter, points: list[SlicePoint], share: float) -> Slice:
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
        share=share,
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
