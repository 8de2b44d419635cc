"""What is to be expected of a study while it runs: the final loss of each trial, and time and cost of what is left."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from core.runs.curves import Curves
from core.runs.summary import Summary
from core.storage.workspace import Workspace
from core.train.schedule import limits
from core.tune.budget import TOLERANCE, spent
from core.tune.curve_fit import MIN_POINTS, Interval, PowerLaw, PowerLawFit, fit_power_law, power_law
from core.tune.halving import mean_share
from core.tune.space import Values
from core.tune.start import open_trial
from core.tune.study import Study
from core.tune.trials import Trial

SKIPPED = 0.3
"""Share of the steps so far whose losses are not fitted: warm-up, the first fall from the uniform distribution and the
plateau after it follow no power law. With a tenth, the loss fell up to ten times as far as forecast."""

LAW_ERROR = 1.0
"""How far from the forecast the loss may end, as a share of the fall that is forecast: it stays, or falls twice as far.
While the learning rate decays it falls faster than any power law, and at the end of the decay not at all."""

SLICE_ERROR = 2.0
"""Half the width of the interval that the evaluations while training add, times the square root of their tokens, as a
share of the loss: the final evaluation is over more text."""

MIN_EARLIER, MAX_EARLIER = 2, 8
"""Trials that are done from which their ends correct a forecast, and how many, the newest, are read for it."""

LAW_WEIGHT = 0.5
"""Of the power law in a corrected forecast; the rest is for the last evaluation. Early the law says more, near the end
of a decay the last evaluation does."""

PRIOR_TRIALS = 2.0
"""Trials that the interval without correction counts for in the spread of the trials that are done."""

NORMAL_90 = 1.645
"""Half a 90 % interval of a normal distribution, in standard deviations."""

GROUPS = 60
"""Means of the training loss to which the law is fitted where there are too few evaluations."""

MIN_PROGRESS = 0.15
"""Share of the training before which there is no forecast."""

MIN_PROGRESS_OF_TIME = 0.05
"""Share of the training from which its time says how long it takes."""

COUNTED_COMBINATIONS = 100_000
"""Combinations of a grid that are counted at most."""


class LossForecast(Struct, frozen=True, kw_only=True):
    """The loss at the end of a training in progress."""

    final: Interval
    """Bits per byte on the held-out text, with a 90 % interval."""
    source: Literal["evaluations", "training loss"]
    """What the power law was fitted to. The training loss is moved by its mean distance to the evaluations."""
    progress: float
    """Share of the training so far, 0 to 1."""
    end: float
    """The step at which the training will end."""
    fit: PowerLawFit
    """In bits per byte over steps; of the training loss before it is moved."""
    earlier: int = 0
    """Trials that are done by whose ends `final` was corrected."""


class _Points(NamedTuple):
    """What the law of a training is fitted to, in bits per byte over steps."""

    steps: list[float]
    losses: list[float]
    evaluations: list[tuple[float, float]]
    by_evaluations: bool

    def distance(self, law: PowerLaw) -> float:
        """Of the evaluations from the law, if it is that of the training loss."""
        return 0.0 if self.by_evaluations else fmean(bits - law.at(step) for step, bits in self.evaluations)


class _End(NamedTuple):
    """What a training that is done came to, in logarithms relative to its last evaluation at some share of it."""

    forecast: float
    """By the law, from there."""
    final: float


class Remaining(NamedTuple):
    """What a study will still take."""

    trials: int
    """That have not ended, or not started yet."""
    training_seconds: float
    """Of training, of all of them together: what a device is busy for."""
    wall_seconds: float
    """Until the last one has ended, with the time between two trials, and `parallel` trials at once."""
    flops: float | None
    """Forward and backward; None before a trial has ended."""


def forecast_final(
    curves: Curves, evaluate_tokens: int, earlier: Sequence[Curves] = (), *, seed: int = 0
) -> LossForecast | None:
    """The final loss of a training from its curves so far; None before there is enough to go by.

    evaluate_tokens: train.evaluate_tokens of its recipe. earlier: of trials that are done, with the same schedule.

    The law is fitted to the evaluations, or to the training loss where there are fewer than `MIN_POINTS` of them. It
    knows nothing of the schedule: where the learning rate decays, the loss falls faster. The interval is wider than
    that of the bootstrap by what this came to in recorded runs, see `LAW_ERROR`; `python -m benchmarks.forecast`
    measures how often it holds. From `MIN_EARLIER` earlier trials on, what the same forecast missed in those corrects
    it, and their spread gives the interval.
    """
    metric = curves.summary.metric
    if metric is None or not MIN_PROGRESS <= metric.progress <= 1:
        return None
    points = _points(curves, metric.step)
    fit = fit_power_law(points.steps, points.losses, seed=seed) if points else None
    if points is None or fit is None:
        return None
    end = metric.step / metric.progress
    by_law = fit.at(end, noise=points.by_evaluations)
    final = _widened(by_law, fit.law.at(metric.step), points.distance(fit.law), evaluate_tokens)
    ends = [found for each in earlier if (found := _end(each, metric.progress))]
    return LossForecast(
        final=_corrected(final, points.evaluations[-1][1], ends, evaluate_tokens),
        source="evaluations" if points.by_evaluations else "training loss",
        progress=metric.progress,
        end=end,
        fit=fit,
        earlier=len(ends) if len(ends) >= MIN_EARLIER else 0,
    )


def earlier_curves(
    trial: Trial, trials: Sequence[Trial], workspace: Workspace, known: dict[str, Curves]
) -> list[Curves]:
    """The curves of the newest trials that are done with the schedule of `trial`, for `forecast_final`.

    known: those read before, by run id; those read now are added.
    """

    def schedule(values: Values) -> list[Any]:
        return [values.get(f"train.{name}") for name in ("schedule", "cooldown", "lr_final")]

    done = [one for one in trials if one.bits_per_byte is not None and schedule(one.values) == schedule(trial.values)]
    for one in done[-MAX_EARLIER:]:
        if one.run_id not in known and (run := open_trial(one, workspace)):
            known[one.run_id] = run.curves()
    return [known[one.run_id] for one in done[-MAX_EARLIER:] if one.run_id in known]


def _points(curves: Curves, last: float) -> _Points | None:
    """What the law is fitted to after the step `last`; None if there is too little."""
    evaluations = [(step, bits) for step, bits in curves.val_bits.means() if SKIPPED * last <= step <= last]
    if len(evaluations) >= MIN_POINTS:
        return _Points([step for step, _ in evaluations], [bits for _, bits in evaluations], evaluations, True)
    if evaluations and curves.bits_per_nat is not None:
        return _Points(*_training_loss(curves, curves.bits_per_nat, last), evaluations, False)
    return None


def _end(curves: Curves, share: float) -> _End | None:
    """What became of a training that is done after this share of it; None if that is not known."""
    metric, final = curves.summary.metric, curves.summary.headline_evaluation
    if metric is None or metric.progress < 1 or final is None or not final.final:
        return None
    points = _points(curves, share * metric.step)
    law = power_law(points.steps, points.losses) if points else None
    if points is None or law is None:
        return None
    present, forecast = points.evaluations[-1][1], law.at(metric.step) + points.distance(law)
    if min(present, forecast, final.bits_per_byte) <= 0:
        return None
    return _End(math.log(forecast / present), math.log(final.bits_per_byte / present))


def _corrected(final: Interval, present: float, ends: Sequence[_End], evaluate_tokens: int) -> Interval:
    """The interval corrected by the ends of earlier trials. present: the last evaluation."""
    if len(ends) < MIN_EARLIER or min(present, final.value) <= 0:
        return final
    missed = [end.final - LAW_WEIGHT * end.forecast for end in ends]
    mean = fmean(missed)
    value = present * math.exp(mean + LAW_WEIGHT * math.log(final.value / present))
    prior = (final.high - final.low) / (2 * NORMAL_90 * present)
    squares = PRIOR_TRIALS * prior**2 + sum((each - mean) ** 2 for each in missed)
    deviation = math.sqrt(squares / (PRIOR_TRIALS + len(ends) - 1) * (1 + 1 / len(ends)))
    half = math.hypot(NORMAL_90 * deviation * value, SLICE_ERROR * value / math.sqrt(evaluate_tokens))
    return Interval(value=value, low=value - half, high=value + half)


def _widened(found: Interval, present: float, distance: float, evaluate_tokens: int) -> Interval:
    """The interval with what law and slice may be wrong by, moved by `distance`. present: the law at this step."""
    value, fall = found.value + distance, max(0.0, present - found.value)
    of_slice = SLICE_ERROR * value / math.sqrt(evaluate_tokens)
    below = math.hypot(found.value - found.low, LAW_ERROR * fall, of_slice)
    above = math.hypot(found.high - found.value, LAW_ERROR * fall, of_slice)
    return Interval(value=value, low=value - below, high=value + above)


def _training_loss(curves: Curves, bits_per_nat: float, last: float) -> tuple[list[float], list[float]]:
    """Steps and means in bits per byte of about `GROUPS` groups of buckets after the first steps."""
    points = [
        (step, loss * bits_per_nat) for step, loss in curves.loss.means() if step > 0 and SKIPPED * last <= step <= last
    ]
    size = -(-len(points) // GROUPS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [fmean(s for s, _ in group) for group in groups], [fmean(loss for _, loss in group) for group in groups]


def remaining(study: Study, trials: Sequence[Trial], training: Mapping[int, Summary]) -> Remaining | None:
    """What the study will still take; None while nothing says how long a trial takes.

    training: by number, the summaries of the runs of trials that have neither ended nor wait at a rung. Of those that
    wait, and of those to come, as many are promoted as the scheduler promotes on average.
    """
    file = study.file
    done = [(trial, trial.ended) for trial in trials if trial.ended and trial.ended.outcome == "done"]
    whole: dict[int, float] = {}  # expected seconds of a training to its end, by the number of the trial
    for number, summary in training.items():
        if summary.metric and summary.metric.progress > MIN_PROGRESS_OF_TIME:
            whole[number] = summary.metric.seconds / summary.metric.progress
    limit = limits(study.recipe.train).get("minutes") if file.flops is None else None
    known = [ended.seconds for _, ended in done] or list(whole.values()) or ([60 * limit] if limit else [])
    if not known:
        return None
    of_one = fmean(known)
    gaps = [max(0.0, ended.at - trial.created_at - ended.seconds) for trial, ended in done if trial.created_at]
    gap = median(gaps) if gaps else 0.0
    stops = {trial.number: trial.stop_at for trial in trials}
    running = []
    for number, summary in training.items():
        seconds = summary.metric.seconds if summary.metric else 0.0
        running.append(max(0.0, stops.get(number, 1.0) * whole.get(number, of_one) - seconds))
    of_next = of_one * mean_share(file.scheduler)
    waiting = _not_started(study, trials, of_one, of_next)
    total = sum(running) + waiting * of_next
    wall = max(max(running, default=0.0), (total + waiting * gap) / file.parallel)
    rates = [ended.flops / ended.seconds for _, ended in done if ended.flops and ended.seconds]
    return Remaining(len(training) + waiting, total, wall, fmean(rates) * total if rates else None)


def _not_started(study: Study, trials: Sequence[Trial], of_one: float, of_next: float) -> int:
    """How many more trials the study will start. of_one: seconds of a whole training; of_next: of one on average."""
    file = study.file
    sampled = sum(trial.origin == "sampled" for trial in trials)
    bounds: list[float] = []
    if file.trials is not None:
        bounds.append(file.trials - sampled)
    if file.minutes is not None and of_next > 0:
        bounds.append((TOLERANCE * 60 * file.minutes - spent(trials, of_one)) / of_next)
    if file.sampler == "grid":
        combinations = sum(1 for _ in itertools.islice(study.space.grid(study.recipe), COUNTED_COMBINATIONS))
        bounds.append(file.repeats * combinations - sampled)
    return max(0, int(min(bounds, default=0)))
