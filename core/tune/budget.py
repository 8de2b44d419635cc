"""What a study may still spend: minutes of training of all its trials together."""

from __future__ import annotations

from collections.abc import Sequence

from core.recipe.schema import Recipe
from core.train.schedule import limits
from core.tune.study_file import StudyFile
from core.tune.trials import Trial

TOLERANCE = 1.01
"""A training stops at the step after its limit, and is not to cost the last trial its place."""


def seconds_of(recipe: Recipe) -> float:
    """Seconds of training of a trial that trains to its end; 0 if time does not limit it."""
    return 60 * limits(recipe.train).get("minutes", 0.0)


def spent(trials: Sequence[Trial], whole: float) -> float:
    """Seconds of training of all trials so far, with what those that train will take until they end or wait.

    whole: of a trial that trains to its end.
    """
    return sum(_seconds(trial, whole) for trial in trials)


def _seconds(trial: Trial, whole: float) -> float:
    if trial.ended:
        return trial.ended.seconds
    return trial.paused.seconds if trial.paused else trial.stop_at * whole


def is_affordable(file: StudyFile, recipe: Recipe, trials: Sequence[Trial], start: float, stop: float) -> bool:
    """Whether a trial can train from the share `start` of its training to `stop` within the minutes of the study.

    Enough is left for one trial to reach its end: a study whose trials all wait would have no result.
    """
    if file.minutes is None:
        return True
    whole, limit = 0.0 if file.flops else seconds_of(recipe), 60 * file.minutes
    furthest = max((trial.stop_at for trial in trials if trial.ended is None), default=0.0)
    is_done = any(trial.bits_per_byte is not None for trial in trials)
    reserve = 0.0 if is_done else (1 - max(furthest, stop)) * whole
    so_far = spent(trials, whole)
    return so_far + (stop - start) * whole + reserve <= TOLERANCE * limit and so_far < limit
