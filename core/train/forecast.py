"""How long a training takes and how much it sees, from how long its parts take: pure functions."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from core.recipe.schema import Recipe
from core.train.schedule import limits, times


class Timing(Struct, frozen=True, kw_only=True):
    """Seconds that the parts of a training take."""

    pass_: float
    """A micro-batch forward and backward."""
    update: float
    """The optimisers' step, clipping included."""
    forward: float
    """A micro-batch forward alone."""
    token: float
    """One token of a sample."""


class Forecast(NamedTuple):
    step: float
    """Seconds of one step."""
    seconds: float
    """Until the last step is done, with the evaluations and samples in between."""
    tokens: int


def forecast(recipe: Recipe, timing: Timing, *, micro_batch: int, validation: int) -> Forecast:
    """What `timing` makes of the recipe's limits, whichever comes first. validation: tokens held out.

    The clock is the one of `Metric.seconds`: the evaluation before the first step counts, those after the last do not.
    """
    train, block = recipe.train, recipe.model.block_size
    passes = -(-train.batch_size // micro_batch)
    step = passes * timing.pass_ + timing.update
    evaluation = min(train.evaluate_tokens, validation) / (micro_batch * block) * timing.forward
    sample = min(recipe.sample.tokens, 10**6) * timing.token
    left = limits(train)
    if "minutes" in left:
        left["minutes"] = max(0.0, left["minutes"] - evaluation / 60)

    def each(steps: float) -> float:
        """Seconds of one of so many steps, with its share of what happens now and then."""
        evaluations = times(train.evaluate_every, train.evaluate_minutes, taken=steps, step=step)
        samples = times(train.sample_every, train.sample_minutes, taken=steps, step=step)
        return step + (evaluations * evaluation + samples * sample) / steps

    limited = {"steps": 1.0, "tokens": train.batch_size * block, "minutes": step / 60}
    steps = max(1.0, min(limit / limited[unit] for unit, limit in left.items()))  # were there nothing else
    limited["minutes"] = (taken := each(steps)) / 60
    steps = min(limit / limited[unit] for unit, limit in left.items())
    return Forecast(step, evaluation + steps * taken, round(steps * train.batch_size * block))
