"""What a trial of a study may be: its recipe, with the compute that all trials get, and why values are left out."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from core.hardware import memory_for
from core.model.count import flops_per_token, parameters
from core.model.memory_fit import precision_plans
from core.recipe.checks import RecipeError
from core.recipe.schema import Recipe
from core.tune.space import Range, Space, SpaceError, Values, with_values
from core.tune.study_file import StudyFile
from core.vocab.sizes import expected_size

SEARCHED = 200
"""Points of a grid, and as many random ones, of which one has to be possible before a study starts."""


def trial_recipe(file: StudyFile, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe of a trial with these values; with `file.flops`, as many tokens as its model gets for them.

    Raises RecipeError if the values do not fit together, or the FLOPs are less than a step takes.
    """
    changed = with_values(recipe, values)
    if file.flops is None:
        return changed
    of_token = flops_per_token(changed.model, expected_size(changed.tokenize).entries).training
    tokens, step = int(file.flops / of_token), changed.train.batch_size * changed.model.block_size
    if tokens < step:
        raise RecipeError(f"{file.flops:.3g} FLOPs are less than the {of_token * step:.3g} of one step", where="flops")
    return replace(changed, train=replace(changed.train, steps=None, minutes=None, tokens=tokens))


def why_left_out(file: StudyFile, recipe: Recipe, values: Mapping[str, Any]) -> str | None:
    """Why a combination of values cannot be trained, or which limit of the study it exceeds; None if it is possible."""
    try:
        changed = trial_recipe(file, recipe, values)
    except RecipeError as error:
        return error.what
    entries = expected_size(changed.tokenize).entries
    if file.max_parameters is not None:
        count = parameters(changed.model, entries).total
        if count > file.max_parameters:
            return f"{count:,} parameters are more than max_parameters = {file.max_parameters:,}"
    if file.fits_memory:
        plans = precision_plans(changed, entries, *memory_for(changed.train.device))
        if not any(plan.micro_batch for plan in plans):
            least = min(plans, key=lambda plan: plan.memory.peak)
            needed, free = least.memory.peak / 2**20, least.budget.bytes / 2**20
            return f"a sequence takes {needed:,.0f} MiB of memory in {least.precision}, and {free:,.0f} MiB are free"
    return None


def require_possible(file: StudyFile, space: Space, recipe: Recipe, where: str) -> None:
    """Raise SpaceError, with the reason, if no point of the space is possible, of all that are tried, or a range has a
    step that leaves one value alone."""
    for parameter in space.parameters:
        domain = parameter.domain
        if isinstance(domain, Range) and domain.step is not None and 0 < domain.high - domain.low < domain.step:
            raise SpaceError(
                f"{parameter.key}: step {domain.step:g} is wider than the range from {domain.low:g} to "
                f"{domain.high:g}, which leaves the value {domain.low:g} alone",
                where=where,
                todo="a smaller step, or no step for any number in between",
            )
    reason, tried = "", 0
    for values in _points(file, space, recipe):
        found = why_left_out(file, recipe, values)
        if found is None:
            return
        reason, tried = found, tried + 1
    raise SpaceError(
        f"no combination is possible, of {tried:,} that were tried; of the last one: {reason}",
        where=where,
        todo="change the space, or the limits of the study",
    )


def _points(file: StudyFile, space: Space, recipe: Recipe) -> Iterator[Values]:
    yield from itertools.islice(space.grid(recipe), SEARCHED)
    if file.sampler != "grid":
        for number in range(SEARCHED):
            yield space.sample(random.Random(number), recipe)
