"""What the plots of a study show: points on two axes, for a widget that draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from core.plural import plural
from core.tune.front import front, second_value
from core.tune.halving import comparable
from core.tune.slices import Slice, arrivals, improvements
from core.tune.study import Study
from core.tune.study_file import SecondObjective
from core.tune.trials import Trial, best_trial
from llmtui.view.axes import tick_label
from llmtui.view.lines import Line
from llmtui.view.sanitize import shown
from llmtui.view.study_text import BEST, HIGHLIGHTED, share_text, value_text
from llmtui.view.units import cost, count


class PlotPoint(NamedTuple):
    """One trial."""

    x: float
    y: float
    role: str
    glyph: str = "•"


class Plot(NamedTuple):
    """Points, and a line of steps."""

    title: Line
    points: Sequence[PlotPoint] = ()
    """Later ones are drawn over earlier ones."""
    steps: Sequence[tuple[float, float]] = ()
    """Where a line changes its height; it stays there until the next."""
    x_log: bool = False
    x_tick: Callable[[float, float], str] = tick_label
    """How a tick of the x axis is written, given its value and the distance between ticks."""
    names: Sequence[str] = ()
    """What x = 0, 1, … stand for, where they are no numbers; sanitised."""
    placeholder: str = ""
    """Shown instead of a plot without points."""
    note: str = ""
    """Below the x axis; sanitised."""


def _point(trial: Trial, x: float, bits: float, best: Trial | None, highlighted: int) -> PlotPoint:
    """bits: per byte, the y."""
    glyph, role = (BEST, "good") if trial is best else ("•", "train")
    if trial.number == highlighted and trial is not best:
        glyph, role = HIGHLIGHTED, "accent"
    return PlotPoint(x, bits, role, glyph)


def _ordered(points: list[PlotPoint]) -> list[PlotPoint]:
    """The best and the highlighted one last, over the others."""
    return sorted(points, key=lambda point: ("•", HIGHLIGHTED, BEST).index(point.glyph))


def progress_plot(trials: Sequence[Trial], highlighted: int) -> Plot:
    """The best result so far as trials get so far as most have. highlighted: number of a trial."""
    share, results = comparable(trials)
    by_number, best = {trial.number: trial for trial in trials}, best_trial(list(trials))
    order = arrivals(trials, share)
    points = [
        _point(by_number[number], float(place), results[number], best, highlighted)
        for place, number in enumerate(order, 1)
        if number in results
    ]
    found = improvements(trials, share)
    title: Line = [("best so far", "title"), (f", bits per byte{share_text(share)} by trials", "dim")]
    note = ""
    if found:
        last = found[-1]
        better = f"better {plural(len(found), 'time')}" if len(found) > 1 else "the first one"
        later = len(order) - last.trials
        since = f", {plural(later, 'trial')} since then" if later else ""
        note = f"trial {last.number}{share_text(share)}; {better}{since}"
        if share < 1 and best is not None:
            note += f"; {BEST} trial {best.number} at the end"
        elif share == 1:
            note = f"{BEST} {note}"
    return Plot(
        title,
        _ordered(points),
        steps=[(float(one.trials), one.bits_per_byte) for one in found],
        x_tick=lambda at, _: f"{at:.0f}" if at == int(at) else "",
        placeholder="No trial has a result yet.",
        note=note,
    )


def slice_plot(found: Slice | None, trials: Sequence[Trial], highlighted: int) -> Plot:
    """The results against the values of one field; None: there is none yet. highlighted: number of a trial."""
    if found is None:
        return Plot([("results by field", "title")], placeholder="No trial has a result yet.")
    by_number, best = {trial.number: trial for trial in trials}, best_trial(list(trials))
    names = [] if found.is_numeric else list(dict.fromkeys(value_text(point.value) for point in found.points))
    points = [
        _point(
            by_number[point.number],
            float(point.value) if found.is_numeric else float(names.index(value_text(point.value))),
            point.bits_per_byte,
            best,
            highlighted,
        )
        for point in found.points
    ]
    first = min(found.groups, key=lambda group: group.median)
    values = value_text(first.low) + (f" … {value_text(first.high)}" if first.high != first.low else "")
    of = plural(first.n, "trial")
    return Plot(
        [
            ("results by ", "title"),
            (shown(found.key, 64), "title"),
            (f", bits per byte{share_text(found.share)}", "dim"),
        ],
        _ordered(points),
        x_log=found.log,
        x_tick=lambda at, step: count(at) if at >= 1000 else tick_label(at, step),
        names=[shown(name, 16) for name in names],
        note=f"lowest median {cost(first.median)} at {values}, {of}; z the next field",
    )


def front_objective(study: Study, trials: Sequence[Trial]) -> SecondObjective | None:
    """What a front shows besides bits per byte: the study's second objective, else the size of models that differ."""
    sizes = {second_value(trial, "parameters") for trial in trials if trial.bits_per_byte is not None}
    return study.file.second_objective or ("parameters" if len(sizes - {None}) > 1 else None)


def front_plot(trials: Sequence[Trial], objective: SecondObjective, highlighted: int) -> Plot:
    """The results against a second objective, and the trials that none beats in both. highlighted: a number."""
    best, members = best_trial(list(trials)), front(trials, objective)
    known = [(trial, abs(value)) for trial in trials if (value := second_value(trial, objective)) is not None]
    points = [
        _point(trial, value, trial.bits_per_byte, best, highlighted)
        for trial, value in known
        if trial.bits_per_byte is not None
    ]
    steps = sorted((value, trial.bits_per_byte or 0.0) for trial, value in known if trial in members)
    if objective == "tokens_per_second":  # between two members the one to the right is the fastest of those as good
        steps = [(x, after[1]) for (x, _), after in zip(steps, [*steps[1:], steps[-1]], strict=True)]
    what = {"parameters": "smaller", "tokens_per_second": "faster"}[objective]
    return Plot(
        [("front", "title"), (f", bits per byte by {objective.replace('_', ' ')}", "dim")],
        _ordered(points),
        steps,
        x_log=True,
        x_tick=lambda at, _: count(at),
        placeholder="No trial is done yet.",
        note=f"none is better and {what} than {'trial' if len(members) == 1 else 'trials'} "
        + ", ".join(str(trial.number) for trial in members),
    )
