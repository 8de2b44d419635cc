"""study.toml: the settings and the search space of a study."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import tomli_w
from msgspec import Meta, Struct

from core.errors import did_you_mean
from core.parsing import ParseError, parse_toml
from core.recipe.overrides import toml_value
from core.recipe.schema import Recipe
from core.train.schedule import limits
from core.tune.space import Space, SpaceError, read_space, wrong_entry

MIN_RUNG_MINUTES = 1 / 60
"""Training before the first rung at least: on two cores the first evaluation takes some tenths of a second."""

Sampler = Literal["tpe", "random", "grid"]
SecondObjective = Literal["tokens_per_second", "parameters"]


class Scheduler(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[scheduler]: which trials train to their end, see `core.tune.halving`."""

    kind: Annotated[
        Literal["none", "asha"],
        Meta(
            description="none: every trial trains to its end. asha: trials wait at rungs, and the best are promoted "
            "(asynchronous successive halving)."
        ),
    ] = "none"
    eta: Annotated[
        int,
        Meta(
            ge=2,
            le=100,
            description="One in so many of the trials at a rung is promoted, and trains so many times as long.",
        ),
    ] = 3
    minimum: Annotated[
        float, Meta(gt=0, lt=1, description="Share of a trial's training before which there is no rung.")
    ] = 0.1


class StudyFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of study.toml. Beside it, recipe.toml has the values of all fields that do not vary."""

    sampler: Annotated[
        Sampler,
        Meta(
            description="tpe: values that were better so far are more likely (Optuna's TPE; needs the extra `tune`). "
            "random: all values alike. grid: every combination."
        ),
    ] = "random"
    trials: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)] | None, Meta(description="Start at most so many trials.")
    ] = None
    minutes: Annotated[
        Annotated[float, Meta(gt=0, le=1e7)] | None,
        Meta(description="Minutes of training of all trials together; none is started that would exceed it."),
    ] = None
    parallel: Annotated[int, Meta(ge=1, le=1024, description="Trials at once.")] = 1
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="Random seed of the sampler.")] = 1
    repeats: Annotated[
        int, Meta(ge=1, le=100, description="Trials of each combination, with seeds that follow the recipe's.")
    ] = 1
    max_parameters: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Leave out combinations whose model has more parameters.")
    ] = None
    fits_memory: Annotated[
        bool,
        Meta(
            description="Leave out combinations of which not one sequence fits in the memory that is free, by the "
            "prediction of `llmtui plan`."
        ),
    ] = False
    flops: Annotated[
        Annotated[float, Meta(gt=0, le=1e30)] | None,
        Meta(
            description="Train each trial with so many FLOPs, forward and backward, whatever its size: train.tokens "
            "follows from its model, in place of the recipe's limits."
        ),
    ] = None
    second_objective: Annotated[
        SecondObjective | None,
        Meta(
            description="Besides few bits per byte, search for many tokens_per_second or few parameters: the result is "
            "a front of trials that no other beats in both."
        ),
    ] = None
    full_run: Annotated[
        dict[Literal["steps", "tokens", "minutes"], Annotated[float, Meta(gt=0, le=1e15)]] | None,
        Meta(description="Limits of a full run with the best values, such as { minutes = 60 }; not of the trials."),
    ] = None
    scheduler: Annotated[Scheduler, Meta(description="Which trials train to their end.")] = Scheduler()
    space: Annotated[dict[str, Any], Meta(description="Fields of the recipe and their values.")] = {}


class StudyFileError(SpaceError):
    doing = "use this study"


def parse_study(text: str, recipe: Recipe, where: str) -> tuple[StudyFile, Space]:
    """Settings and search space in the text of study.toml. Raises StudyFileError, SpaceError."""
    try:
        tables = parse_toml(text)
    except ParseError as error:
        raise StudyFileError(str(error), where=where) from None
    return convert(tables, recipe, where)


def convert(tables: Mapping[str, Any], recipe: Recipe, where: str) -> tuple[StudyFile, Space]:
    """Settings and search space in the tables of study.toml. Raises StudyFileError, SpaceError."""
    for key in tables:
        if key not in StudyFile.__struct_fields__:
            todo = (
                did_you_mean(key, StudyFile.__struct_fields__) or f"there is {', '.join(StudyFile.__struct_fields__)}"
            )
            raise StudyFileError(f"a study has no setting {key!r}", where=where, todo=todo)
    for name, table, kind in (("scheduler: ", tables.get("scheduler"), Scheduler), ("", tables, StudyFile)):
        if isinstance(table, Mapping) and (wrong := wrong_entry(table, kind)):
            raise StudyFileError(name + wrong[0], where=where, todo=wrong[1])
    file = msgspec.convert(dict(tables), StudyFile, str_keys=True)
    if file.trials is None and file.minutes is None and file.sampler != "grid":
        raise StudyFileError(
            "it has no end", where=where, todo="limit it by trials, or by minutes of training of all trials together"
        )
    space = read_space(file.space, recipe, where)
    if file.flops is None:
        _check_rungs(file.scheduler, recipe, where)
    if file.second_objective and file.scheduler.kind != "none":
        raise StudyFileError(
            f"a trial that waits at a rung has no {file.second_objective} to be compared",
            where=where,
            todo='scheduler.kind = "none", or no second_objective',
        )
    limit = limits(recipe.train).get("minutes") if file.flops is None else None
    if file.minutes is not None and limit is not None and limit > file.minutes:
        raise StudyFileError(
            f"one trial may take {limit:g} minutes (train.minutes), and the study ends after {file.minutes:g}",
            where=where,
            todo="shorten the trials, such as with --set train.minutes=0.5, or give the study more minutes",
        )
    return file, space


def _check_rungs(scheduler: Scheduler, recipe: Recipe, where: str) -> None:
    """Raise StudyFileError if a trial has nothing to be evaluated at its first rung."""
    if scheduler.kind == "none":
        return
    if scheduler.minimum > 1 / scheduler.eta:
        raise StudyFileError(
            f"no rung is between scheduler.minimum = {scheduler.minimum:g} and the end of a trial",
            where=where,
            todo=f'a minimum of at most {1 / scheduler.eta:.3g}, or scheduler.kind = "none"',
        )
    of_step = {"steps": 1, "tokens": recipe.train.batch_size * recipe.model.block_size, "minutes": MIN_RUNG_MINUTES}
    for unit, limit in limits(recipe.train).items():
        share = scheduler.minimum
        if share * limit < of_step[unit]:
            raise StudyFileError(
                f"the budget of a trial is too small for one evaluation: {share:.0%} of {limit:g} {unit}",
                where=where,
                todo=f"longer trials, such as --set train.{unit}={math.ceil(100 * of_step[unit] / share) / 100:g}; "
                'a larger scheduler.minimum; or scheduler.kind = "none"',
            )


def to_toml(file: StudyFile) -> str:
    """The text of study.toml, with a line for each field that varies."""
    tables = {key: value for key, value in msgspec.to_builtins(file).items() if value is not None}
    space = tables.pop("space")
    return f"{tomli_w.dumps(tables)}\n[space]\n{space_text(space)}"


def space_text(space: Mapping[str, Any]) -> str:
    """The lines of the table [space]."""
    lines: list[str] = []
    for key, value in space.items():
        is_section = isinstance(value, Mapping) and not {"low", "high", "values"} & value.keys()
        fields = {f"{key}.{name}": each for name, each in value.items()} if is_section else {key: value}
        lines += [f"{name} = {_inline(each)}\n" for name, each in fields.items()]
    return "".join(lines)


def _inline(value: Any) -> str:
    """A value on one line, with bare keys where TOML takes them."""
    if not isinstance(value, Mapping):
        return toml_value(value)
    keys = {key: key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key) for key in value}
    return f"{{ {', '.join(f'{keys[key]} = {_inline(each)}' for key, each in value.items())} }}"
