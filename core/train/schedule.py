"""How far the training is, and the learning rate there: pure functions."""

from __future__ import annotations

import math

from core.recipe import Train

DEFAULT_MINUTES = 5.0
"""How long a recipe without any limit trains."""


def progress(recipe: Train, *, steps: int, tokens: int, seconds: float) -> float:
    """Share of the training done, 0 to 1, by whichever limit is nearest. Exactly 1 ends it."""
    minutes = recipe.minutes
    if minutes is None and recipe.steps is None and recipe.tokens is None:
        minutes = DEFAULT_MINUTES
    shares = [
        steps / recipe.steps if recipe.steps else 0.0,
        tokens / recipe.tokens if recipe.tokens else 0.0,
        seconds / (60 * minutes) if minutes else 0.0,
    ]
    return min(1.0, max(shares))


def warm_and_cool(recipe: Train, done: float) -> float:
    """Share of the peak learning rate at the share `done` of the training: linear warm-up, then a cosine."""
    if done < recipe.warmup:
        # never zero: the first step has to count, and its share of the training is not known yet
        return max(0.01, done / recipe.warmup)
    along = (done - recipe.warmup) / (1 - recipe.warmup)
    return recipe.lr_final + (1 - recipe.lr_final) * 0.5 * (1 + math.cos(math.pi * along))
