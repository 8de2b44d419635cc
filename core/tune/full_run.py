"""How long a full run with the best values of a study trains."""

from __future__ import annotations

from collections.abc import Mapping

from core.recipe.schema import Train
from core.train.schedule import limits
from core.tune.study import Study

UNITS = ("steps", "tokens", "minutes")
"""The fields of [train] that end a training."""

TIMES = 10
"""How many times as long as a trial, where nothing says more."""


def full_limits(study: Study) -> dict[str, float]:
    """The limits of a full run, by field of [train]: `full_run` of the study; else those of its recipe if its trials
    have others, by `flops`; else `TIMES` those of a trial."""
    if study.file.full_run:
        return {str(unit): limit for unit, limit in study.file.full_run.items()}
    own = limits(study.recipe.train)
    return own if study.file.flops is not None else {unit: TIMES * limit for unit, limit in own.items()}


def limit_changes(train: Train, wanted: Mapping[str, float]) -> dict[str, float | int | None]:
    """The changes of the fields of [train], by their dotted names, that give `train` these limits alone."""
    changes: dict[str, float | int | None] = {}
    for unit in UNITS:
        limit = wanted.get(unit)
        value = limit if limit is None or unit == "minutes" else int(limit)
        if value != getattr(train, unit):
            changes[f"train.{unit}"] = value
    return changes


def longer_limits(base: Train, trial: Train) -> dict[str, float] | None:
    """The limits of a recipe before they were changed for its trials; None if the trials are not shorter."""
    full, own = limits(base), limits(trial)
    is_longer = full != own and all(full[unit] > own[unit] for unit in full.keys() & own.keys())
    return full if is_longer else None
