"""Whether the best values of a study are better than the next ones by more than another seed would change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from core.runs.comparison import Spread, spread_of
from core.tune.trials import Trial, by_values


class Repeated(NamedTuple):
    """Trials with the same values, which differ in the seed."""

    trials: tuple[Trial, ...]
    spread: Spread
    """Of their bits per byte."""


class Lead(NamedTuple):
    """The best values beside the next ones."""

    best: Repeated
    second: Repeated | None
    """None: there are no others."""
    noise: float | None
    """The widest range of bits per byte over seeds of any values of the study; None: no values were repeated."""

    @property
    def difference(self) -> float:
        """Of the means."""
        return self.second.spread.mean - self.best.spread.mean if self.second else 0.0

    @property
    def is_noise(self) -> bool:
        """Whether another seed changes as much as there is between the best values and the next ones."""
        return self.second is not None and self.noise is not None and self.difference <= self.noise


def lead(trials: Sequence[Trial]) -> Lead | None:
    """How far the best values are ahead, by the means over their seeds; None before a trial is done."""
    groups = [
        Repeated(tuple(group), spread)
        for group in by_values(trials)
        if (spread := spread_of(trial.bits_per_byte for trial in group))
    ]
    if not groups:
        return None
    widths = [group.spread.width for group in groups if group.spread.n > 1]
    return Lead(groups[0], groups[1] if len(groups) > 1 else None, max(widths, default=None))
