"""Comparing runs: the fields of their recipes that differ, runs that differ only in the seed, and whether a difference
is larger than what another seed makes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from core.recipe.fields import Field, fields
from core.recipe.overrides import value_of
from core.recipe.schema import Recipe
from core.runs.series import Series


def differing_fields(recipes: Sequence[Recipe]) -> list[Field]:
    """The fields, apart from the name, whose values are not the same in all of `recipes`."""
    return [
        field
        for field in fields()
        if field.section and any(value_of(r, field) != value_of(recipes[0], field) for r in recipes)
    ]


def seed_groups(recipes: Sequence[Recipe], inputs: Sequence[object]) -> list[list[int]]:
    """The indices of `recipes` in groups that differ only in name and train.seed, each in order.

    inputs: what each began with, such as its data; a group has the same.
    """
    groups: dict[tuple[bytes, object], list[int]] = {}
    for index, (recipe, began_with) in enumerate(zip(recipes, inputs, strict=True)):
        same = replace(recipe, name=Recipe().name, train=replace(recipe.train, seed=0))
        groups.setdefault((msgspec.json.encode(same), began_with), []).append(index)
    return list(groups.values())


class Spread(NamedTuple):
    """A result over several runs."""

    n: int
    mean: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """From the lowest to the highest."""
        return self.high - self.low


def spread_of(values: Iterable[float | None]) -> Spread | None:
    """The spread of those of `values` that are finite numbers; None if there are none."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return Spread(len(known), sum(known) / len(known), min(known), max(known)) if known else None


class SpreadDifference(NamedTuple):
    """The difference of two means, and the wider spread of the two."""

    value: float
    spread: Spread | None
    """None: there is only one run of each."""

    @property
    def within(self) -> bool:
        """Whether runs that differ only in the seed differ as much: then it says nothing."""
        return self.spread is not None and abs(self.value) <= self.spread.width


def difference(one: Spread, baseline: Spread) -> SpreadDifference:
    """How far `one` is above `baseline`."""
    known = [spread for spread in (one, baseline) if spread.n > 1]
    return SpreadDifference(one.mean - baseline.mean, max(known, key=lambda spread: spread.width, default=None))


def mean_series(series: Sequence[Series], smoothing: float = 0.0) -> Series:
    """The mean of several runs, with the lowest and the highest of them as the range of each bucket.

    smoothing: weight of the past in a moving average of each run, per step, taken first: the range is then that of the
    runs, not that of their steps. Only steps that all runs with any value have; in buckets of the coarsest.
    """
    known = [each for each in series if each.index]
    merged = Series(span=max((each.span for each in known), default=1))
    columns: dict[int, list[float]] = {}
    for each in known:
        buckets: dict[int, list[float]] = {}
        for number, value in zip(each.index, each.smoothed(smoothing, float, float), strict=True):
            buckets.setdefault(number * each.span // merged.span, []).append(value)
        for number, values in buckets.items():
            columns.setdefault(number, []).append(sum(values) / len(values))
    for number, values in sorted(columns.items()):
        if len(values) == len(known):
            merged.index.append(number)
            merged.low.append(min(values))
            merged.high.append(max(values))
            merged.total.append(sum(values))
            merged.count.append(len(values))
    if merged.index:
        merged.last = merged.total[-1] / merged.count[-1]
        merged.end = min(min(each.end for each in known), (merged.index[-1] + 1) * merged.span - 1)
    return merged
