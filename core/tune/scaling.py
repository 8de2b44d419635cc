"""Loss against compute over models of several sizes: the law of the best ones, and the size it suggests for a budget.

The frontier are the trials that no other beats with less compute. Their loss is fitted by L∞ + A·C^−α, their size by a
power of C (Kaplan et al., 2020, arXiv:2001.08361; Hoffmann et al., 2022, arXiv:2203.15556, approach 1, with final
losses only, since those of a training that has not decayed its learning rate are higher).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from core.tune.curve_fit import REPLICATES, Interval, PowerLawFit, fit_power_law
from core.tune.trials import Trial

MIN_SIZES = 3
"""Sizes of models on the frontier from which a size is suggested."""


class ScalingPoint(NamedTuple):
    """A trial that is done."""

    study: str
    number: int
    flops: float
    """Of its training, forward and backward."""
    parameters: int
    tokens: int
    bits_per_byte: float


class Suggestion(Struct, frozen=True, kw_only=True):
    """What to train for a budget, with 90 % intervals."""

    flops: float
    bits_per_byte: Interval
    parameters: Interval | None
    tokens: Interval | None
    """Both None where the frontier has fewer than `MIN_SIZES` sizes."""


class Scaling(Struct, frozen=True, kw_only=True):
    """The trials by compute, and what follows from those on the frontier."""

    points: tuple[ScalingPoint, ...]
    """By FLOPs."""
    frontier: tuple[ScalingPoint, ...]
    fit: PowerLawFit | None
    """Bits per byte over FLOPs; None with too few points on the frontier."""

    def suggest(self, flops: float) -> Suggestion | None:
        """Loss, size and tokens for a budget of FLOPs; None without a fit."""
        if self.fit is None:
            return None
        size = _size_at(self.frontier, flops)
        tokens = None
        if size is not None:  # FLOPs per parameter and token: 6 and some for attention
            cost = statistics.median(p.flops / (p.parameters * p.tokens) for p in self.frontier)
            low, value, high = (flops / (cost * n) for n in (size.high, size.value, size.low))
            tokens = Interval(value=value, low=low, high=high)
        loss = self.fit.at(flops, noise=False)
        return Suggestion(flops=flops, bits_per_byte=loss, parameters=size, tokens=tokens)


def scaling(studies: Iterable[tuple[str, Iterable[Trial]]]) -> Scaling:
    """The trials of some studies, each with its id, that are done and whose compute is known."""
    points = sorted(
        (
            ScalingPoint(study, trial.number, ended.flops, ended.parameters, ended.tokens, bits)
            for study, trials in studies
            for trial in trials
            if (ended := trial.ended) and (bits := trial.bits_per_byte) is not None
            if ended.flops and ended.parameters and ended.tokens
        ),
        key=lambda point: (point.flops, point.bits_per_byte),
    )
    frontier: list[ScalingPoint] = []
    for point in points:
        if not frontier or point.bits_per_byte < frontier[-1].bits_per_byte:
            frontier.append(point)
    fit = fit_power_law([point.flops for point in frontier], [point.bits_per_byte for point in frontier])
    return Scaling(points=tuple(points), frontier=tuple(frontier), fit=fit)


def _size_at(frontier: tuple[ScalingPoint, ...], flops: float) -> Interval | None:
    """Parameters at that compute by a line through the logarithms, with a bootstrap of its residuals."""
    import numpy as np

    if len({point.parameters for point in frontier}) < MIN_SIZES:
        return None
    compute = np.log([point.flops for point in frontier])
    sizes = np.log([point.parameters for point in frontier])
    slope, level = np.polyfit(compute, sizes, 1)
    fitted = slope * compute + level
    residuals = (sizes - fitted) * np.sqrt(len(sizes) / (len(sizes) - 2))
    rng = np.random.default_rng(0)
    resampled = fitted[:, None] + rng.choice(residuals, size=(len(sizes), REPLICATES))
    slopes, levels = np.polyfit(compute, resampled, 1)
    at = np.log(flops)
    low, high = np.exp(np.quantile(slopes * at + levels, (0.05, 0.95)))
    value = float(np.exp(slope * at + level))
    return Interval(value=value, low=min(value, float(low)), high=max(value, float(high)))
