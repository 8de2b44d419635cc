"""How long a training takes and how many tokens it sees, estimated from measured times: pure functions."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from core.recipe.schema import Recipe
from core.train.schedule import expected_occurrences, limits


class PassTimings(Struct, frozen=True, kw_only=True):
    """Measured seconds of the parts of a training."""

    forward_backward: float
    """Of one micro-batch."""
    update: float
    """Gradient clipping and optimizer step."""
    forward: float
    """Of one micro-batch, without gradients."""
    token: float
    """Generation of one token of a sample."""


class TrainingEstimate(NamedTuple):
    step: float
    """Seconds of one step."""
    seconds: float
    """Until the last step is done, including the evaluations and samples in between."""
    tokens: int


def estimate_training(recipe: Recipe, timings: PassTimings, *, micro_batch: int, validation: int) -> TrainingEstimate:
    """Estimate up to the first of the recipe's limits. validation: tokens of the validation text.

    The clock is that of `Metric.seconds`: the evaluation before the first step counts, those after the last do not.
    """
    train, block = recipe.train, recipe.model.block_size
    passes = -(-train.batch_size // micro_batch)
    step = passes * timings.forward_backward + timings.update
    evaluation = min(train.evaluate_tokens, validation) / (micro_batch * block) * timings.forward
    sample = min(recipe.sample.tokens, 10**6) * timings.token
    remaining = limits(train)
    if "minutes" in remaining:
        remaining["minutes"] = max(0.0, remaining["minutes"] - evaluation / 60)

    def seconds_per_step(steps: float) -> float:
        """Average over so many steps, with the evaluations and samples between them."""
        evaluations = expected_occurrences(train.evaluate_every, train.evaluate_minutes, steps=steps, seconds=step)
        samples = expected_occurrences(train.sample_every, train.sample_minutes, steps=steps, seconds=step)
        return step + (evaluations * evaluation + samples * sample) / steps

    per_step = {"steps": 1.0, "tokens": train.batch_size * block, "minutes": step / 60}
    steps = max(1.0, min(limit / per_step[unit] for unit, limit in remaining.items()))  # steps alone, as a first guess
    per_step["minutes"] = (average := seconds_per_step(steps)) / 60
    steps = min(limit / per_step[unit] for unit, limit in remaining.items())
    return TrainingEstimate(step, evaluation + steps * average, round(steps * train.batch_size * block))
