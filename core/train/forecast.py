"""How long a training takes and how much it sees, from how long its parts take: pure functions."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from core.recipe import Recipe
from core.train.schedule import limits


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
    each = step + evaluation / train.evaluate_every + sample / train.sample_every
    left = limits(train)
    if "minutes" in left:
        left["minutes"] = max(0.0, left["minutes"] - evaluation / 60)
    taken = {"steps": 1.0, "tokens": train.batch_size * block, "minutes": each / 60}
    steps = min(limit / taken[unit] for unit, limit in left.items())
    return Forecast(step, evaluation + steps * each, round(steps * train.batch_size * block))
