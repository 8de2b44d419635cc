"""Which values the next trial of a study takes: a pure function of the study and its trials so far.

Nothing is stored but the trials: a controller that starts anew proposes what the one before would have proposed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from core.errors import LlmtuiError
from core.model.count import parameters
from core.recipe.checks import RecipeError
from core.recipe.schema import Recipe
from core.tune.space import Choice, Parameter, Space, SpaceError, Values, with_values
from core.tune.study import Trial
from core.tune.study_file import StudyFile

ATTEMPTS = 1000
"""Combinations that are tried before a study is refused because none is possible."""


class SamplerMissingError(LlmtuiError):
    doing = "search with TPE"


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """The next trial."""

    values: Values
    recipe: Recipe
    """With the values and the seed of the trial."""


def propose(file: StudyFile, space: Space, recipe: Recipe, trials: Sequence[Trial]) -> Proposal | None:
    """The next trial; None if there is no other combination.

    Trials that were inserted by hand count as trials so far. Raises SpaceError if no combination is possible,
    SamplerMissingError.
    """
    sampled = [trial for trial in trials if trial.origin == "sampled"]
    if len(sampled) % file.repeats:  # the next seed of the same values
        values = sampled[-1].values
        return _proposal(recipe, values, len(sampled) % file.repeats)
    if file.sampler == "grid":
        done = len(sampled) // file.repeats
        possible = (values for values in space.grid(recipe) if _why_impossible(file, recipe, values) is None)
        following = next(itertools.islice(possible, done, None), None)
    else:
        following = _possible(file, space, recipe, trials, len(sampled))
    return None if following is None else _proposal(recipe, following, 0)


def _proposal(recipe: Recipe, values: Values, repeat: int) -> Proposal:
    changed = with_values(recipe, values)
    seed = recipe.train.seed + repeat
    return Proposal(values=values, recipe=replace(changed, train=replace(changed.train, seed=seed)))


def _possible(file: StudyFile, space: Space, recipe: Recipe, trials: Sequence[Trial], number: int) -> Values | None:
    """Values that a model can have and no trial has had, by the sampler of the study; None if there are no others."""
    tried = [trial.values for trial in trials]
    why = ""
    for values in itertools.islice(_candidates(file, space, recipe, trials, number), ATTEMPTS):
        if values in tried:
            continue
        reason = _why_impossible(file, recipe, values)
        if reason is None:
            return values
        why = reason
    if tried:
        return None
    raise SpaceError(f"none of {ATTEMPTS:,} combinations is possible; of the last one: {why}", where="[space]")


def _candidates(
    file: StudyFile, space: Space, recipe: Recipe, trials: Sequence[Trial], number: int
) -> Iterator[Values]:
    """Values in the order in which they are tried; those of one number are always the same."""
    if file.sampler == "tpe":
        yield from _tpe(file, space, recipe, trials, number)
    for attempt in range(ATTEMPTS):
        rng = random.Random(f"{file.seed} {number} {attempt}")
        yield space.sample(rng, recipe)


def _why_impossible(file: StudyFile, recipe: Recipe, values: Values) -> str | None:
    """Why a combination cannot be trained, or is left out; None if it can."""
    try:
        changed = with_values(recipe, values)
    except RecipeError as error:
        return error.what
    if file.max_parameters is not None:
        count = parameters(changed.model, changed.tokenize.size).total
        if count > file.max_parameters:
            return f"{count:,} parameters are more than {file.max_parameters:,}"
    return None


# -- Optuna's TPE, by ask and tell ------------------------------------------------------------------------------------

_TPE_ATTEMPTS = 20
"""Proposals of TPE that may be impossible before values are sampled at random."""


def _tpe(file: StudyFile, space: Space, recipe: Recipe, trials: Sequence[Trial], number: int) -> Iterator[Values]:
    optuna = _optuna()
    for attempt in range(_TPE_ATTEMPTS):
        seed = random.Random(f"{file.seed} {number} {attempt}").getrandbits(32)
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        study = optuna.create_study(sampler=sampler, direction="minimize")
        for trial in trials:
            study.add_trial(_as_optuna(optuna, space, recipe, trial, trials))
        asked = study.ask()
        values: Values = {}
        for parameter in space.parameters:
            if parameter in space.applying(recipe, values):
                values[parameter.key] = _suggest(asked, parameter)
        yield values


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise SamplerMissingError(
            "Optuna is not installed", todo='install llmtui[tune], or search with sampler = "random"'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _distribution(optuna: Any, parameter: Parameter) -> Any:
    domain = parameter.domain
    if isinstance(domain, Choice):
        return optuna.distributions.CategoricalDistribution([_scalar(value) for value in domain.values])
    if parameter.integer:
        step = int(domain.step or 1)
        return optuna.distributions.IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=step)
    return optuna.distributions.FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def _scalar(value: Any) -> Any:
    """A choice as Optuna takes it: lists and tables as JSON."""
    return value if isinstance(value, bool | int | float | str) else msgspec.json.encode(value).decode()


def _suggest(asked: Any, parameter: Parameter) -> Any:
    domain = parameter.domain
    if isinstance(domain, Choice):
        chosen = asked.suggest_categorical(parameter.key, [_scalar(value) for value in domain.values])
        return next(value for value in domain.values if _scalar(value) == chosen)
    if parameter.integer:
        step = int(domain.step or 1)
        return asked.suggest_int(parameter.key, int(domain.low), int(domain.high), log=domain.log, step=step)
    number = asked.suggest_float(parameter.key, domain.low, domain.high, log=domain.log, step=domain.step)
    return parameter.rounded(number)


def _as_optuna(optuna: Any, space: Space, recipe: Recipe, trial: Trial, trials: Sequence[Trial]) -> Any:
    """A trial as TPE learns from it. One that failed is worse than all others, so that its neighbourhood is avoided."""
    states = optuna.trial.TrialState
    varied = [  # an edited space may not have a value any more
        parameter
        for parameter in space.applying(recipe, trial.values)
        if parameter.key in trial.values and parameter.contains(trial.values[parameter.key])
    ]
    bits = trial.bits_per_byte
    failed = trial.ended is not None and trial.ended.outcome == "failed"
    if bits is None and failed:
        bits = max((other.bits_per_byte or 0.0 for other in trials), default=0.0) + 1.0
    state = states.COMPLETE if bits is not None else states.FAIL if trial.ended else states.RUNNING
    return optuna.trial.create_trial(
        state=state,
        value=bits,
        params={parameter.key: _scalar(trial.values[parameter.key]) for parameter in varied},
        distributions={parameter.key: _distribution(optuna, parameter) for parameter in varied},
    )
