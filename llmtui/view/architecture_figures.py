"""Parameters, FLOPs, memory and speed of a model as text, with what changed against another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from core.model.count import TRAINING_FACTOR, flops_per_token, parameters
from core.model.memory_fit import PrecisionPlan
from core.model.parts import BLOCK, parts
from core.recipe.schema import Model, Recipe
from core.runs.summary import Summary
from core.train.schedule import limits
from llmtui.view.lines import Line, cell
from llmtui.view.plan_text import micro_batches, shares
from llmtui.view.units import count, duration, many, rate, size


class Figures(NamedTuple):
    """Figures of a step of the model, of all blocks together."""

    parameters: int
    flops: int
    """Forward and backward pass, for one token."""


class ModelFigures(NamedTuple):
    """Figures of a whole model, and of its steps by name; a step without parameters and FLOPs is left out."""

    total: Figures
    steps: dict[str, Figures]

    @classmethod
    def of(cls, model: Model, vocabulary: int) -> ModelFigures:
        """vocabulary: entries, the end-of-text token included."""
        found = parts(model, vocabulary)
        steps = {part.name: Figures(part.parameters, TRAINING_FACTOR * part.flops) for part in found}
        blocks = [part for part in found if part.in_block]
        steps[BLOCK] = Figures(
            sum(part.parameters for part in blocks), TRAINING_FACTOR * sum(part.flops for part in blocks)
        )
        total = Figures(parameters(model, vocabulary).total, flops_per_token(model, vocabulary).training)
        return cls(total, steps)


def change(new: float, old: float) -> str:
    """How much larger `new` is: `+12 %`, `×3.1`, `new`, `gone`; empty if it is the same."""
    if new == old:
        return ""
    if not old or not new:
        return "new" if new else "gone"
    if new >= 10 * old:
        return f"×{count(new / old)}"
    percent = 100 * (new / old - 1)
    return f"{percent:+.0f} %" if abs(percent) >= 1 else f"{'+' if percent > 0 else '-'}<1 %"


def share(part: float, whole: float) -> str:
    """`part` in percent of `whole`; empty if it is 0."""
    if not part or not whole:
        return ""
    return f"{100 * part / whole:.0f}%" if part >= 0.01 * whole else "<1%"


COLUMNS = (("PARAMS", 7), ("CHANGE", 8), ("SHARE", 6), ("FLOPS", 7), ("CHANGE", 8), ("SHARE", 6))
"""Titles and widths of the columns beside the picture; those of changes are left out while there is none."""


def columns(cells: int, changed: bool) -> list[int]:
    """Indices of those of COLUMNS that fit `cells` cells, in order."""
    found: list[int] = []
    for index, (title, wide) in enumerate(COLUMNS):
        if title == "CHANGE" and not changed:
            continue
        if sum(COLUMNS[i][1] for i in found) + wide > cells:
            break
        found.append(index)
    return found


def columns_width(indices: Sequence[int]) -> int:
    return sum(COLUMNS[index][1] for index in indices)


def column_titles(indices: Sequence[int]) -> Line:
    return [(cell(COLUMNS[index][0], COLUMNS[index][1], right=True), "dim") for index in indices]


def column_cells(name: str, figures: ModelFigures, before: ModelFigures, indices: Sequence[int]) -> Line:
    """The cells of the step `name`."""
    nothing = Figures(0, 0)
    now, was = figures.steps.get(name, nothing), before.steps.get(name, nothing)
    return _cells(now, was, figures.total, indices)


def total_cells(figures: ModelFigures, before: ModelFigures, indices: Sequence[int]) -> Line:
    """The cells of the whole model."""
    return _cells(figures.total, before.total, figures.total, indices)


def _cells(now: Figures, was: Figures, total: Figures, indices: Sequence[int]) -> Line:
    texts = (
        (count(now.parameters) if now.parameters else "", ""),
        (change(now.parameters, was.parameters), "accent"),
        (share(now.parameters, total.parameters), "dim"),
        (count(now.flops) if now.flops else "", ""),
        (change(now.flops, was.flops), "accent"),
        (share(now.flops, total.flops), "dim"),
    )
    return [(cell(texts[index][0], COLUMNS[index][1], right=True), texts[index][1]) for index in indices]


def memory_lines(
    recipe: Recipe, plans: Sequence[PrecisionPlan], before: Sequence[PrecisionPlan], *, brief: bool = False
) -> list[Line]:
    """Memory of a training step by use, a column per precision, and the micro-batch that fits.

    before: the plans of the recipe that `recipe` is compared with, in the same order if they are for the same
    precisions. brief: only the peak of the memory.
    """
    if not plans:
        return []
    lines: list[Line] = [[(cell("", 16), ""), *((cell(plan.precision, 12, right=True), "dim") for plan in plans)]]
    for named in zip(*(shares(plan.memory) for plan in plans if not brief), strict=True):
        lines.append(
            [(cell(named[0][0], 16), "dim"), *((cell(size(number), 12, right=True), "") for _, number in named)]
        )
    lines.append(
        [(cell("peak", 16), "dim"), *((cell(size(plan.memory.peak), 12, right=True), "bold") for plan in plans)]
    )
    compared = {plan.precision: plan.memory.peak for plan in before}
    changes = [change(plan.memory.peak, compared.get(plan.precision, plan.memory.peak)) for plan in plans]
    if any(changes):
        lines.append([(cell("", 16), ""), *((cell(text, 12, right=True), "accent") for text in changes)])
    for plan in plans:
        fits = micro_batches(recipe.train.batch_size, plan.micro_batch) if plan.micro_batch else "does not fit here"
        lines.append([(cell(plan.precision, 16), "dim"), (fits, "" if plan.micro_batch else "bad")])
    return lines


def speed_lines(recipe: Recipe, figures: ModelFigures, measured: Summary | None, before: ModelFigures) -> list[Line]:
    """FLOPs, tokens per second and time of the training.

    measured: summary of a run of the model `before`, whose speed is converted by the ratio of the FLOPs. None: the
    speed is unknown, which is said.
    """
    flops, step = figures.total.flops, recipe.train.batch_size * recipe.model.block_size
    speed = measured_speed(measured) * before.total.flops / flops if measured else 0.0
    tokens_of = {"steps": step, "tokens": 1, "minutes": 60 * speed}
    ends = [limit * tokens_of[unit] for unit, limit in limits(recipe.train).items() if tokens_of[unit]]
    rows = [("a step", f"{many(step, 'token')}, {count(step * flops)} FLOPs", "")]
    if ends:
        rows.append(("training", f"{many(min(ends), 'token')}, {count(min(ends) * flops)} FLOPs", ""))
    if speed:
        basis = "measured" if figures.total == before.total else "estimated by FLOPs"
        rows.append(("speed", rate(speed, "tok"), basis))
        rows.append(("time", f"about {duration(min(ends) / speed)}", ""))
    else:
        rows.append(("speed", "", "a run measures it before its first step"))
    return [
        [(cell(name, 16), "dim"), (value, ""), ("  " + note if value and note else note, "dim")]
        for name, value, note in rows
    ]


def measured_speed(summary: Summary) -> float:
    """Tokens per second of the training of a run; 0 before it is known."""
    metric = summary.metric
    if metric is None or metric.seconds <= 0:
        return 0.0
    return summary.tokens_per_second or metric.tokens / metric.seconds
