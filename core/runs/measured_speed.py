"""How fast this machine trains, from the runs it has done: for a rough time before a run has measured its own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from core.runs.summary import Summary

MIN_SECONDS = 10.0
"""Of training that a run needs for its speed to count."""


class MeasuredSpeed(NamedTuple):
    """The speed of one run, evaluations and samples included."""

    run: str
    device: str
    """As the run reported it, such as "2 cores, bfloat16"."""
    flops_per_token: int
    flops_per_second: float


class ExpectedTraining(NamedTuple):
    """How long a training takes; None: unknown without a speed."""

    steps: int | None
    tokens: int | None
    seconds: float | None


def measured_speeds(runs: Iterable[tuple[str, Summary]]) -> list[MeasuredSpeed]:
    """The speeds of those of the `runs`, by name, that have trained for long enough."""
    return [
        MeasuredSpeed(
            name,
            summary.device,
            summary.shape.flops_per_token,
            summary.shape.flops_per_token * summary.metric.tokens / summary.metric.seconds,
        )
        for name, summary in runs
        if summary.shape and summary.metric and summary.metric.seconds >= MIN_SECONDS
    ]


def nearest_speed(speeds: Iterable[MeasuredSpeed], flops_per_token: int) -> MeasuredSpeed | None:
    """The speed of the model nearest in size, of several the first; None of none."""

    def distance(speed: MeasuredSpeed) -> float:
        return abs(math.log(max(1, speed.flops_per_token) / max(1, flops_per_token)))

    return min(speeds, key=distance, default=None)


def expected_training(
    limits: dict[str, float], *, tokens_per_step: int, tokens_per_second: float | None
) -> ExpectedTraining:
    """Steps, tokens and seconds up to the first of `limits` (`core.train.schedule.limits`)."""
    steps = [limits["steps"]] if "steps" in limits else []
    steps += [limits["tokens"] / tokens_per_step] if "tokens" in limits else []
    if "minutes" in limits and tokens_per_second:
        steps.append(60 * limits["minutes"] * tokens_per_second / tokens_per_step)
    elif "minutes" in limits:  # whether it comes first is not known
        return ExpectedTraining(None, None, None if steps else 60 * limits["minutes"])
    count = max(1, math.ceil(min(steps)))
    seconds = count * tokens_per_step / tokens_per_second if tokens_per_second else None
    if seconds and "minutes" in limits:
        seconds = min(seconds, 60 * limits["minutes"])  # the last step is counted whole
    return ExpectedTraining(count, count * tokens_per_step, seconds)
