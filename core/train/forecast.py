"""How long a training takes and how much it sees, from how long its parts take: pure functions."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from core.recipe import Recipe
from core.train.schedule import DEFAULT_MINUTES


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
    minutes = train.minutes
    if minutes is None and train.steps is None and train.tokens is None:
        minutes = DEFAULT_MINUTES
    limits = [float(train.steps)] if train.steps else []
    limits += [train.tokens / (train.batch_size * block)] if train.tokens else []
    limits += [max(0.0, 60 * minutes - evaluation) / each] if minutes else []
    steps = min(limits)
    return Forecast(step, evaluation + steps * each, round(steps * train.batch_size * block))
