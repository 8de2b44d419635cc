"""How far the training is, when it ends, and the learning rate on the way: pure functions."""

from __future__ import annotations

import math

from core.recipe.schema import Train

DEFAULT_MINUTES = 5.0
"""How long a recipe without any limit trains."""


OFTEN = 30.0
"""Seconds between two evaluations, samples or checkpoints, at most, that a recipe leaves to the clock."""
RARELY = 0.25
"""Share of the training so far that lies between them once that is more."""


def limits(recipe: Train) -> dict[str, float]:
    """What ends the training: any of steps, tokens and minutes."""
    given = {"steps": recipe.steps, "tokens": recipe.tokens, "minutes": recipe.minutes}
    return {unit: limit for unit, limit in given.items() if limit is not None} or {"minutes": DEFAULT_MINUTES}


def progress(recipe: Train, *, steps: int, tokens: int, seconds: float) -> float:
    """Share of the training done, 0 to 1, by whichever limit is nearest. Exactly 1 ends it."""
    done = {"steps": steps, "tokens": tokens, "minutes": seconds / 60}
    return min(1.0, max(done[unit] / limit for unit, limit in limits(recipe).items()))


def reached(recipe: Train, *, steps: int, tokens: int, seconds: float) -> str:
    """Which limit is reached, in words; empty while none is."""
    done = {"steps": steps, "tokens": tokens, "minutes": seconds / 60}
    for unit, limit in limits(recipe).items():
        if done[unit] / limit >= 1:
            return f"the limit of {f'{limit:,}'.removesuffix('.0')} {unit} is reached"
    return ""


class Interval:
    """When something that happens again and again is due: every so many steps, and by the clock where that is sooner.

    The clock is the training's, which stands still in pauses and is the same for all ranks. Steps count from the first
    of the training, so that what a run does at a step does not depend on what came by the clock.
    """

    def __init__(self, steps: int, minutes: float | None, *, seconds: float) -> None:
        """steps, minutes: as the recipe has them. seconds: of training so far."""
        self._steps, self._minutes, self._last = steps, minutes, seconds

    def by_steps(self, step: int) -> bool:
        return step % self._steps == 0

    def due(self, step: int, seconds: float) -> bool:
        """Whether it has to happen now, after `step` steps and `seconds` of training."""
        wait = _wait(self._minutes, self._last)
        return self.by_steps(step) or (wait > 0 and seconds - self._last >= wait)

    def happened(self, seconds: float) -> None:
        self._last = seconds


def times(steps: int, minutes: float | None, *, taken: float, step: float) -> float:
    """How often it happens in `taken` steps of `step` seconds each, about, where `Interval` says when."""
    seconds, by_steps = taken * step, steps * step
    if minutes is not None or by_steps <= OFTEN:
        return seconds / min(by_steps, 60 * minutes if minutes else math.inf)
    # the same wait at first, a longer one after each, and that of the steps in the end
    longer, longest = OFTEN / RARELY, by_steps / RARELY
    count = min(seconds, longer) / OFTEN + math.log(min(max(seconds, longer), longest) / longer) / RARELY
    return count + max(0.0, seconds - longest) / by_steps


def _wait(minutes: float | None, last: float) -> float:
    """Seconds of training from the last time to the next; 0: it never comes."""
    return max(OFTEN, RARELY * last) if minutes is None else 60 * minutes


def rate(recipe: Train, done: float) -> float:
    """Share of the peak learning rate at the share `done` of the training, both 0 to 1.

    A straight warm-up, then what `recipe.schedule` says: constant; cosine (Loshchilov & Hutter 2017, arXiv
    1608.03983); wsd, warm-up, stable, decay (arXiv 2404.06395), whose fall begins no earlier than the warm-up ends.
    """
    if done < recipe.warmup:
        # never zero: the first step has to count, and its share of the training is not known yet
        return max(0.01, done / recipe.warmup)
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "cosine":
        along = (done - recipe.warmup) / (1 - recipe.warmup)
        return recipe.lr_final + (1 - recipe.lr_final) * 0.5 * (1 + math.cos(math.pi * along))
    start = max(recipe.warmup, 1 - recipe.cooldown)
    return 1.0 if done <= start else 1.0 - (1 - recipe.lr_final) * (done - start) / (1 - start)
