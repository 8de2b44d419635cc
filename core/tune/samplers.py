"""Which values the next trial of a study takes: a pure function of the study and its trials so far.

Nothing is stored but the trials: a controller that starts anew proposes what the one before would have proposed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from core.recipe.schema import Recipe
from core.tune.constraints import trial_recipe, why_left_out
from core.tune.space import Space, SpaceError, Values
from core.tune.study_file import StudyFile
from core.tune.tpe import tpe_values
from core.tune.trials import Trial

ATTEMPTS = 1000
"""Random combinations that are tried for a trial before there is taken to be no other."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """The next trial."""

    values: Values
    recipe: Recipe
    """With the values and the seed of the trial."""


def propose(file: StudyFile, space: Space, recipe: Recipe, trials: Sequence[Trial]) -> Proposal | None:
    """The next trial; None if there is no other combination.

    Trials that were inserted by hand count as trials so far. Raises SpaceError if no combination is possible,
    OptunaMissingError.
    """
    sampled = [trial for trial in trials if trial.origin == "sampled"]
    same = [trial for trial in sampled if trial.values == sampled[-1].values]
    if 0 < len(same) < file.repeats and not any(trial.failed for trial in same):  # the next seed of the same values
        return _proposal(file, recipe, sampled[-1].values, len(same))
    following = _possible(file, space, recipe, trials, len(sampled))
    return None if following is None else _proposal(file, recipe, following, 0)


def _proposal(file: StudyFile, recipe: Recipe, values: Values, repeat: int) -> Proposal:
    changed = trial_recipe(file, recipe, values)
    seed = recipe.train.seed + repeat
    return Proposal(values=values, recipe=replace(changed, train=replace(changed.train, seed=seed)))


def _possible(file: StudyFile, space: Space, recipe: Recipe, trials: Sequence[Trial], number: int) -> Values | None:
    """Values that a model can have and no trial has had, by the sampler of the study; None if there are no others."""
    tried = [trial.values for trial in trials]
    why = ""
    for values in _candidates(file, space, recipe, trials, number):
        if values in tried:
            continue
        reason = why_left_out(file, recipe, values)
        if reason is None:
            return values
        why = reason
    if tried:
        return None
    raise SpaceError(f"no combination is possible; of the last one: {why}", where="[space]")


def _candidates(
    file: StudyFile, space: Space, recipe: Recipe, trials: Sequence[Trial], number: int
) -> Iterator[Values]:
    """Values in the order in which they are tried; those of one number are always the same."""
    if file.sampler == "grid":
        yield from space.grid(recipe)
        return
    if file.sampler == "tpe":
        yield from tpe_values(file, space, recipe, trials, number)
    for attempt in range(ATTEMPTS):
        rng = random.Random(f"{file.seed} {number} {attempt}")
        yield space.sample(rng, recipe)
