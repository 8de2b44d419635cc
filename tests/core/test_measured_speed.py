"""Rough times of a training from the runs before it."""

from __future__ import annotations

import pytest

from core.events import AttemptStarted, Metric, ModelInfo
from core.runs.measured_speed import expected_training, measured_speeds, nearest_speed
from core.runs.summary import Summary


def trained(flops: int, seconds: float) -> Summary:
    """A run that trained on 100 tokens a second."""
    summary = Summary()
    summary.absorb(AttemptStarted(attempt=1, pid=1, host="here", device="2 cores, bfloat16"))
    summary.absorb(ModelInfo(parameters=1, flops_per_token=flops, vocabulary=300, tokens=10))
    summary.absorb(
        Metric(step=9, loss=1.0, lr=0.1, grad_norm=1.0, tokens=int(100 * seconds), seconds=seconds, progress=1.0)
    )
    return summary


def test_the_speed_is_that_of_the_run_nearest_in_size() -> None:
    runs = [("small", trained(1_000, 60)), ("large", trained(1_000_000, 60)), ("short", trained(300_000, 2))]
    speeds = measured_speeds([*runs, ("new", Summary())])
    found = nearest_speed(speeds, 300_000)
    assert found and (found.run, found.flops_per_second) == ("large", 1e8)
    assert nearest_speed([], 1) is None


def test_the_first_limit_ends_the_training() -> None:
    limits = {"steps": 100.0, "tokens": 5_000.0, "minutes": 1.0}
    assert expected_training(limits, tokens_per_step=100, tokens_per_second=1_000) == (50, 5_000, 5.0)
    assert expected_training(limits, tokens_per_step=100, tokens_per_second=10) == (6, 600, pytest.approx(60))


def test_without_a_speed_only_what_is_certain_is_said() -> None:
    assert expected_training({"minutes": 2}, tokens_per_step=100, tokens_per_second=None) == (None, None, 120)
    assert expected_training({"steps": 10}, tokens_per_step=100, tokens_per_second=None) == (10, 1000, None)
    assert expected_training({"steps": 10, "minutes": 2}, tokens_per_step=1, tokens_per_second=None) == (None,) * 3
