"""Optuna, an optional dependency: TPE by ask and tell, and the importance of fields.

Optuna stores nothing: it is told all trials anew each time.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from core.errors import LlmtuiError
from core.recipe.schema import Recipe
from core.tune.front import second_value
from core.tune.halving import comparable
from core.tune.space import Choice, Parameter, Space, Values
from core.tune.study import Study
from core.tune.study_file import SecondObjective, StudyFile
from core.tune.trials import Trial, TrialEnded


class OptunaMissingError(LlmtuiError):
    doing = "search with TPE"


_TPE_ATTEMPTS = 20
"""Proposals of TPE that may be impossible before values are sampled at random."""


def tpe_values(file: StudyFile, space: Space, recipe: Recipe, trials: Sequence[Trial], number: int) -> Iterator[Values]:
    """Proposals for the trial of that number. One after which another is asked for was refused, and TPE is told so."""
    optuna = load_optuna()
    refused: list[Values] = []
    for attempt in range(_TPE_ATTEMPTS):
        seed = random.Random(f"{file.seed} {number} {attempt}").getrandbits(32)
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        study = optuna.create_study(sampler=sampler, directions=directions(file.second_objective))
        for trial in trials:
            study.add_trial(as_optuna(optuna, space, recipe, trial, file.second_objective))
        for values in refused:  # as one that failed
            study.add_trial(_frozen(optuna, space, recipe, values, optuna.trial.TrialState.PRUNED))
        optuna_trial = study.ask()
        proposed: Values = {}
        for parameter in space.parameters:
            if parameter in space.applying(recipe, proposed):
                proposed[parameter.key] = _suggest(optuna_trial, parameter)
        yield proposed
        refused.append(proposed)


def load_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise OptunaMissingError(
            "Optuna is not installed", todo='pip install "llmtui[tune]"; sampler = "random" needs nothing'
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


def _suggest(optuna_trial: Any, parameter: Parameter) -> Any:
    domain = parameter.domain
    if isinstance(domain, Choice):
        chosen = optuna_trial.suggest_categorical(parameter.key, [_scalar(value) for value in domain.values])
        return next(value for value in domain.values if _scalar(value) == chosen)
    if parameter.integer:
        step = int(domain.step or 1)
        return optuna_trial.suggest_int(parameter.key, int(domain.low), int(domain.high), log=domain.log, step=step)
    number = optuna_trial.suggest_float(parameter.key, domain.low, domain.high, log=domain.log, step=domain.step)
    return parameter.rounded(number)


def as_optuna(optuna: Any, space: Space, recipe: Recipe, trial: Trial, second: SecondObjective | None = None) -> Any:
    """A trial as TPE learns from it.

    Pruned trials rank below those that are done, by the rung they have reached and their result there; one that failed
    has no rung and is worse than all others, so that its neighbourhood is avoided.
    """
    states = optuna.trial.TrialState
    objectives = [trial.bits_per_byte] + ([second_value(trial, second)] if second else [])
    if None not in objectives:
        state = states.COMPLETE
    elif trial.failed or trial.rungs:
        state = states.PRUNED
    else:
        state = states.FAIL if trial.ended else states.RUNNING
    results = {round(1000 * rung.share): rung.bits_per_byte for rung in trial.rungs}
    results = {} if trial.failed or second else results
    return _frozen(
        optuna, space, recipe, trial.values, state, objectives if state == states.COMPLETE else None, results
    )


def _frozen(
    optuna: Any,
    space: Space,
    recipe: Recipe,
    values: Values,
    state: Any,
    objectives: Sequence[float | None] | None = None,
    results: dict[int, float] | None = None,
) -> Any:
    """A trial of Optuna with those of `values` that the space, which may have been edited, still has."""
    varied = [
        parameter
        for parameter in space.applying(recipe, values)
        if parameter.key in values and parameter.contains(values[parameter.key])
    ]
    return optuna.trial.create_trial(
        state=state,
        params={parameter.key: _scalar(values[parameter.key]) for parameter in varied},
        distributions={parameter.key: _distribution(optuna, parameter) for parameter in varied},
        values=objectives,
        intermediate_values=results or {},
    )


def directions(second: SecondObjective | None) -> list[str]:
    """Optuna's directions: of tokens per second the negative is minimised, see `core.tune.front.second_value`."""
    return ["minimize", "minimize"] if second else ["minimize"]


MIN_TRIALS = 8
"""Trials with a result from which an importance says something."""


def importances(study: Study) -> dict[str, float]:
    """The share of each field in what makes trials good, by PED-ANOVA (Watanabe et al., 2023, arXiv:2304.10255).

    Results at a rung count where more trials have one than are done. The largest first; the sum is 1. Empty with fewer
    than `MIN_TRIALS` results. Raises OptunaMissingError.
    """
    trials = study.trials()
    _, results = comparable(trials)
    if len(results) < MIN_TRIALS:
        return {}
    optuna = load_optuna()
    known = optuna.create_study()
    for trial in trials:
        if trial.number in results:
            done = TrialEnded(number=trial.number, outcome="done", bits_per_byte=results[trial.number])
            known.add_trial(as_optuna(optuna, study.space, study.recipe, replace(trial, ended=done)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():  # about values that one trial has
        warnings.simplefilter("ignore", UserWarning)
        found: dict[str, float] = optuna.importance.get_param_importances(known, evaluator=evaluator)
    return found
