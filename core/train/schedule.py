"""Progress of a training, its limits, its intervals, and the learning-rate schedule: pure functions."""

from __future__ import annotations

import math

from core.recipe.schema import Train

DEFAULT_MINUTES = 5.0
"""Time limit of a recipe without any limit."""

MIN_INTERVAL_SECONDS = 30.0
"""Minimum time between two evaluations, samples or checkpoints by the clock, if the recipe sets none."""
MIN_INTERVAL_SHARE = 0.25
"""Minimum of the same, as a share of the training so far."""


def limits(recipe: Train) -> dict[str, float]:
    """What ends the training: any of steps, tokens and minutes."""
    given = {"steps": recipe.steps, "tokens": recipe.tokens, "minutes": recipe.minutes}
    return {unit: limit for unit, limit in given.items() if limit is not None} or {"minutes": DEFAULT_MINUTES}


def progress(recipe: Train, *, steps: int, tokens: int, seconds: float) -> float:
    """Share of the training done, 0 to 1, by the nearest limit. Exactly 1 ends it."""
    done = {"steps": steps, "tokens": tokens, "minutes": seconds / 60}
    return min(1.0, max(done[unit] / limit for unit, limit in limits(recipe).items()))


def reached_limit(recipe: Train, *, steps: int, tokens: int, seconds: float) -> str:
    """Which limit is reached, in words; empty if none is."""
    done = {"steps": steps, "tokens": tokens, "minutes": seconds / 60}
    for unit, limit in limits(recipe).items():
        if done[unit] / limit >= 1:
            return f"the limit of {f'{limit:,}'.removesuffix('.0')} {unit} is reached"
    return ""


class Interval:
    """When a recurring action is due: every so many steps, or by the clock if that is sooner.

    The clock is that of the training: it stops during pauses and is the same for all ranks. Steps are counted from the
    beginning of the training, so that the actions at a step do not depend on earlier ones by the clock.
    """

    def __init__(self, steps: int, minutes: float | None, *, seconds: float) -> None:
        """steps, minutes: as in the recipe. seconds: of training so far."""
        self._steps, self._minutes, self._last = steps, minutes, seconds

    def by_steps(self, step: int) -> bool:
        return step % self._steps == 0

    def due(self, step: int, seconds: float) -> bool:
        """Whether the action is due after `step` steps and `seconds` of training."""
        wait = _wait(self._minutes, self._last)
        return self.by_steps(step) or (wait > 0 and seconds - self._last >= wait)

    def happened(self, seconds: float) -> None:
        self._last = seconds


def intervals(recipe: Train, seconds: float) -> tuple[Interval, Interval, Interval]:
    """Intervals of samples, evaluations and checkpoints, `seconds` into the training."""
    return (
        Interval(recipe.sample_every, recipe.sample_minutes, seconds=seconds),
        Interval(recipe.evaluate_every, recipe.evaluate_minutes, seconds=seconds),
        Interval(recipe.checkpoint_every, recipe.checkpoint_minutes, seconds=seconds),
    )


def expected_occurrences(every: int, minutes: float | None, *, steps: float, seconds: float) -> float:
    """About how often an action with such an `Interval` is due within `steps` steps of `seconds` each."""
    total, by_steps = steps * seconds, every * seconds
    if minutes is not None or by_steps <= MIN_INTERVAL_SECONDS:
        return total / min(by_steps, 60 * minutes if minutes else math.inf)
    # three phases: constant intervals, then intervals that grow with the training, then those of the steps
    growing, constant = MIN_INTERVAL_SECONDS / MIN_INTERVAL_SHARE, by_steps / MIN_INTERVAL_SHARE
    count = min(total, growing) / MIN_INTERVAL_SECONDS
    count += math.log(min(max(total, growing), constant) / growing) / MIN_INTERVAL_SHARE
    return count + max(0.0, total - constant) / by_steps


def _wait(minutes: float | None, last: float) -> float:
    """Seconds of training between the last occurrence and the next one by the clock; 0: never."""
    return max(MIN_INTERVAL_SECONDS, MIN_INTERVAL_SHARE * last) if minutes is None else 60 * minutes


def lr_factor(recipe: Train, done: float) -> float:
    """Factor of the peak learning rate, 0 to 1, when the share `done` (0 to 1) of the training is done.

    Linear warm-up, then `recipe.schedule`: constant; cosine (Loshchilov & Hutter 2017, arXiv 1608.03983); or
    warmup-stable-decay, wsd (arXiv 2404.06395), whose decay starts no earlier than the warm-up ends.
    """
    if done < recipe.warmup:
        # never zero: the first step has to have an effect, and its share of the training is not known yet
        return max(0.01, done / recipe.warmup)
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "cosine":
        position = (done - recipe.warmup) / (1 - recipe.warmup)
        return recipe.lr_final + (1 - recipe.lr_final) * 0.5 * (1 + math.cos(math.pi * position))
    start = max(recipe.warmup, 1 - recipe.cooldown)
    return 1.0 if done <= start else 1.0 - (1 - recipe.lr_final) * (done - start) / (1 - start)
