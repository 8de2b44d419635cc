"""Progress, limits, intervals and learning rate of a training."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.recipe.schema import Recipe, Train
from core.train import memory_probe, schedule
from core.train.schedule import Interval, expected_occurrences, lr_factor, progress, reached_limit
from core.train.training_estimate import PassTimings, estimate_training

Name = Literal["constant", "cosine", "wsd"]
NAMES: tuple[Name, ...] = ("constant", "cosine", "wsd")


def test_the_nearest_limit_ends_the_training() -> None:
    recipe = Train(steps=100, tokens=1000, minutes=1)
    assert progress(recipe, steps=10, tokens=500, seconds=6) == 0.5
    assert progress(recipe, steps=10, tokens=500, seconds=59.9) == pytest.approx(59.9 / 60)
    assert progress(recipe, steps=100, tokens=0, seconds=0) == 1
    assert progress(Train(), steps=10**9, tokens=0, seconds=150) == 0.5  # five minutes when nothing is said


def test_the_limit_that_is_reached_is_named() -> None:
    recipe = Train(steps=1000, tokens=10_000, minutes=1.5)
    assert reached_limit(recipe, steps=999, tokens=9_999, seconds=89) == ""
    assert reached_limit(recipe, steps=1000, tokens=0, seconds=0) == "the limit of 1,000 steps is reached"
    assert reached_limit(recipe, steps=0, tokens=10_001, seconds=0) == "the limit of 10,000 tokens is reached"
    assert reached_limit(recipe, steps=0, tokens=0, seconds=90) == "the limit of 1.5 minutes is reached"
    assert reached_limit(Train(), steps=10**9, tokens=10**12, seconds=300) == "the limit of 5 minutes is reached"


def test_the_default_limit_is_defined_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "DEFAULT_MINUTES", 2.0)
    assert progress(Train(), steps=0, tokens=0, seconds=60) == 0.5
    timing = PassTimings(forward_backward=0.1, update=0.1, forward=0.0, token=0.0)
    assert estimate_training(Recipe(), timing, micro_batch=1, validation=0).seconds == pytest.approx(120)
    assert memory_probe._expected(Recipe(), 1, 0.1) == 120


@given(
    steps=st.integers(1, 10**6), limit=st.integers(1, 10**6), tokens=st.integers(0, 10**9), most=st.integers(1, 10**9)
)
def test_a_limit_is_reached_exactly_when_nothing_is_left_to_do(steps: int, limit: int, tokens: int, most: int) -> None:
    recipe = Train(steps=limit, tokens=most)
    assert bool(reached_limit(recipe, steps=steps, tokens=tokens, seconds=0)) == (
        progress(recipe, steps=steps, tokens=tokens, seconds=0) == 1
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_schedule_warms_up_linearly_and_never_from_zero(name: Name) -> None:
    recipe = Train(schedule=name, warmup=0.1)
    assert 0 < lr_factor(recipe, 0) <= 0.01
    assert lr_factor(recipe, 0.05) == pytest.approx(0.5)
    assert lr_factor(recipe, 0.1) == pytest.approx(1)


def test_constant_stays_at_its_peak() -> None:
    recipe = Train(schedule="constant", warmup=0.1, lr_final=0.1)
    assert [lr_factor(recipe, done) for done in (0.1, 0.5, 1)] == [1, 1, 1]


def test_cosine_decreases_throughout() -> None:
    recipe = Train(schedule="cosine", warmup=0.1, lr_final=0.1)
    assert lr_factor(recipe, 0.55) == pytest.approx(0.1 + 0.9 / 2)
    assert lr_factor(recipe, 0.325) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert lr_factor(recipe, 1) == pytest.approx(0.1)


def test_wsd_is_constant_and_then_decays_linearly() -> None:
    recipe = Train(schedule="wsd", warmup=0.1, cooldown=0.4, lr_final=0.2)
    assert [lr_factor(recipe, done) for done in (0.1, 0.3, 0.6)] == [1, 1, 1]
    assert lr_factor(recipe, 0.8) == pytest.approx(0.6)
    assert lr_factor(recipe, 1) == pytest.approx(0.2)
    assert lr_factor(Train(schedule="wsd", cooldown=0, warmup=0), 1) == 1
    whole = Train(schedule="wsd", cooldown=1, warmup=0.5, lr_final=0)  # the fall waits for the end of the warm-up
    assert [lr_factor(whole, done) for done in (0.5, 0.75, 1)] == [1, 0.5, 0]


@given(
    name=st.sampled_from(NAMES),
    warmup=st.floats(0, 0.99),
    cooldown=st.floats(0, 1),
    final=st.floats(0, 1),
    done=st.floats(0, 1),
)
def test_every_schedule_stays_between_zero_and_its_peak(
    name: Name, warmup: float, cooldown: float, final: float, done: float
) -> None:
    recipe = Train(schedule=name, warmup=warmup, cooldown=cooldown, lr_final=final)
    assert 0 <= lr_factor(recipe, done) <= 1 + 1e-12
    if done >= warmup:
        assert lr_factor(recipe, done) >= final - 1e-12


def moments(steps: int, minutes: float | None, *, taken: int, step: float) -> list[float]:
    """Seconds at which an action happens in a training of `taken` steps."""
    interval, triggered = Interval(steps, minutes, seconds=0.0), []
    for number in range(1, taken + 1):
        if interval.due(number, seconds := number * step):
            interval.happened(seconds)
            triggered.append(seconds)
    return triggered


def test_slow_steps_are_scheduled_by_the_clock() -> None:
    # 81 steps in two minutes: an evaluation every 100 steps never came
    assert moments(100, None, taken=80, step=1.5) == [30, 60, 90, 120]
    assert moments(100, 0.25, taken=40, step=1.5) == [15, 30, 45, 60]
    assert moments(100, 0, taken=80, step=1.5) == []


def test_fast_steps_are_scheduled_by_their_number() -> None:
    assert moments(100, None, taken=450, step=0.01) == [1, 2, 3, 4]
    assert moments(100, 0.5, taken=450, step=0.01) == [1, 2, 3, 4]


def test_step_intervals_do_not_depend_on_actions_by_the_clock() -> None:
    triggered = moments(50, 0.5, taken=120, step=1.0)
    assert {50.0, 100.0} <= set(triggered)
    assert triggered[0] == 30


def test_intervals_by_the_clock_grow_with_the_training() -> None:
    day = moments(10**9, None, taken=24 * 60, step=60.0)
    assert 20 < len(day) < 40  # 2,880 with half a minute for ever
    assert all(later - earlier >= max(30, 0.25 * earlier) for earlier, later in pairwise(day))


@pytest.mark.parametrize("minutes", [None, 0, 0.5, 10])
@pytest.mark.parametrize("step", [0.01, 0.4, 5.0])
@pytest.mark.parametrize("steps", [20, 100, 3000])
def test_expected_occurrences_are_close_to_the_actual_number(steps: int, minutes: float | None, step: float) -> None:
    taken = 6000
    expected = len(moments(steps, minutes, taken=taken, step=step))
    # a clock that both set counts a little more: after a step's turn it begins anew
    assert expected_occurrences(steps, minutes, steps=taken, seconds=step) == pytest.approx(expected, rel=0.5, abs=4)
