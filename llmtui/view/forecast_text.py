"""What a recipe will take on this machine, as text, before it is started."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from core.hardware import memory_for
from core.model.count import flops_per_token, parameters
from core.model.memory_fit import PrecisionPlan, precision_plans
from core.plural import plural
from core.recipe.schema import Recipe
from core.runs.measured_speed import ExpectedTraining, MeasuredSpeed, expected_training, nearest_speed
from core.train.schedule import DEFAULT_MINUTES, limits
from core.vocab.sizes import expected_size
from llmtui.view.plan_text import parts, shape, shares, verdict
from llmtui.view.sanitize import shown
from llmtui.view.units import count, duration, flops_rate, many, size


class Forecast(NamedTuple):
    """Names and values of a short table, and what does not fit."""

    short: str
    """The headline figures on one line."""
    rows: list[tuple[str, str]]
    details: list[tuple[str, str]]
    """Parameters and memory by part, for a pane with room."""
    problems: list[str]


def forecast(recipe: Recipe, speeds: Iterable[MeasuredSpeed]) -> Forecast:
    """Parameters, memory, batch, tokens and time of training `recipe` here.

    speeds: those of earlier runs, the newest first. Reads the free memory.
    """
    entries, unsure = expected_size(recipe.tokenize)
    counted = parameters(recipe.model, entries)
    plans = precision_plans(recipe, entries, *memory_for(recipe.train.device))
    cost = flops_per_token(recipe.model, entries).training
    speed = nearest_speed(speeds, cost)
    expected = _expected(recipe, cost, speed)
    memory = ", ".join(f"{size(plan.memory.peak)} in {plan.precision}" for plan in plans)
    rows = [
        ("parameters", f"{count(counted.total)}: {shape(recipe.model)}"),
        ("memory", f"{memory}; {size(plans[0].budget.bytes)} available"),
        ("batch", _batch(recipe, entries, plans)),
        *_training_rows(recipe, expected, speed),
        (
            "vocabulary",
            f"{recipe.tokenize.vocabulary}, {plural(entries, 'entry')}" + (f" ({unsure})" if unsure else ""),
        ),
        ("FLOPs", f"{count(cost)} per token, forward and backward"),
    ]
    named = [("parameters", [(name, count(number)) for name, number in parts(counted)])]
    named += [(plan.precision, [(name, size(number)) for name, number in shares(plan.memory)]) for plan in plans]
    details = [(name, ", ".join(f"{part} {figure}" for part, figure in figures)) for name, figures in named]
    time = about(expected.seconds) if expected.seconds is not None else "time not known yet"
    fits = "fits" if plans[0].micro_batch else "does not fit"
    short = f"{count(counted.total)} parameters · {size(plans[0].memory.peak)}, {fits} · {time}"
    return Forecast(short, rows, details, list(_problems(recipe, entries, plans)))


def training_rows(recipe: Recipe, speeds: Iterable[MeasuredSpeed]) -> list[tuple[str, str]]:
    """Tokens and time of training `recipe` here, as two rows of a table. speeds: as `forecast` takes them."""
    cost = flops_per_token(recipe.model, expected_size(recipe.tokenize).entries).training
    speed = nearest_speed(speeds, cost)
    return _training_rows(recipe, _expected(recipe, cost, speed), speed)


def rough_time(recipe: Recipe, speeds: Iterable[MeasuredSpeed]) -> str:
    """How long a training takes, as `about 2m00s`; empty where no earlier run has measured it."""
    cost = flops_per_token(recipe.model, expected_size(recipe.tokenize).entries).training
    expected = _expected(recipe, cost, nearest_speed(speeds, cost))
    return about(expected.seconds) if expected.seconds is not None else ""


def about(seconds: float) -> str:
    """A rough duration: `about 2m00s`, `about 17 years`."""
    years = seconds / (365.25 * 24 * 3600)
    return f"about {years:,.0f} years" if years >= 1.5 else f"about {duration(seconds)}"


def _expected(recipe: Recipe, cost: int, speed: MeasuredSpeed | None) -> ExpectedTraining:
    return expected_training(
        limits(recipe.train),
        tokens_per_step=recipe.train.batch_size * recipe.model.block_size,
        tokens_per_second=speed.flops_per_second / cost if speed else None,
    )


def _batch(recipe: Recipe, entries: int, plans: list[PrecisionPlan]) -> str:
    """How the batch is divided, once where that is the same in each precision."""
    verdicts = {plan.precision: verdict(recipe, entries, plan) for plan in plans if plan.micro_batch}
    if len(set(verdicts.values())) == 1 and len(verdicts) == len(plans):
        return next(iter(verdicts.values()))
    if not verdicts:
        return f"{plural(recipe.train.batch_size, 'sequence')}, not one fits"
    return "; ".join(f"{text} in {precision}" for precision, text in verdicts.items())


def _training_rows(recipe: Recipe, expected: ExpectedTraining, speed: MeasuredSpeed | None) -> list[tuple[str, str]]:
    return [("tokens", _tokens(recipe, expected)), ("time", _time(recipe, expected, speed))]


def _tokens(recipe: Recipe, expected: ExpectedTraining) -> str:
    each = f"{recipe.train.batch_size * recipe.model.block_size:,} a step"
    if expected.tokens is None or expected.steps is None:
        return each
    return f"{many(expected.tokens, 'token')} in {count(expected.steps)} steps of {each.removesuffix(' a step')}"


def _time(recipe: Recipe, expected: ExpectedTraining, speed: MeasuredSpeed | None) -> str:
    if speed is None:
        known = f"at most {duration(60 * limits(recipe.train)['minutes'])}" if "minutes" in limits(recipe.train) else ""
        return (f"{known}; " if known else "") + "no run here has measured a speed: the first one does"
    assert expected.seconds is not None
    basis = f"at the {flops_rate(speed.flops_per_second)} of {shown(speed.run, 40)} on {shown(speed.device, 40)}"
    default = not {recipe.train.steps, recipe.train.tokens, recipe.train.minutes} - {None}
    note = f" ({DEFAULT_MINUTES:.0f} minutes, as no limit is set)" if default else ""
    return f"{about(expected.seconds)}{note}, {basis}"


def _problems(recipe: Recipe, entries: int, plans: list[PrecisionPlan]) -> Iterable[str]:
    """What does not fit, for each precision."""
    for plan in plans:
        if not plan.micro_batch:
            needed = f"{size(plan.memory.peak)} needed, {size(plan.budget.bytes)} available"
            yield f"in {plan.precision}: {verdict(recipe, entries, plan)} ({needed})"
