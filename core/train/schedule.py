"""How far the training is, when it ends, and the learning rate on the way: pure functions."""

from __future__ import annotations

import math

from core.recipe import Train

DEFAULT_MINUTES = 5.0
"""How long a recipe without any limit trains."""


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
