"""The trials of a study with two objectives that no other trial beats in both: its Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

from core.tune.study_file import SecondObjective
from core.tune.trials import Trial


def second_value(trial: Trial, objective: SecondObjective) -> float | None:
    """The second objective of a trial that is done, the lower the better: tokens per second are negative."""
    if trial.ended is None or trial.ended.outcome != "done":
        return None
    if objective == "parameters":
        return None if trial.ended.parameters is None else float(trial.ended.parameters)
    return None if trial.ended.tokens_per_second is None else -trial.ended.tokens_per_second


def front(trials: Sequence[Trial], objective: SecondObjective) -> list[Trial]:
    """The front, the fewest bits per byte first. Of trials that are equal in both objectives the first one is in it."""
    known = [
        (trial.bits_per_byte, second, trial)
        for trial in trials
        if trial.bits_per_byte is not None and (second := second_value(trial, objective)) is not None
    ]
    found: list[Trial] = []
    best = float("inf")
    for _, second, trial in sorted(known, key=lambda each: (each[0], each[1], each[2].number)):
        if second < best:
            found.append(trial)
            best = second
    return found
