"""Forecasts: a power law is recovered, its intervals hold the truth as often as they say, what is left is counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from core.events import AnyEvent, Evaluation, Metric, StageFinished
from core.runs.curves import Curves
from core.runs.summary import Summary
from core.storage.workspace import Workspace
from core.tune.curve_fit import PowerLaw, fit_power_law
from core.tune.forecast import forecast_final, remaining
from core.tune.halving import mean_share
from core.tune.study_file import Scheduler
from core.tune.trials import Trial, TrialEnded, TrialPaused
from tests.core.test_tune_controller import new_study

LAW = PowerLaw(1.25, 6.0, 0.5)


@pytest.mark.parametrize("law", [LAW, PowerLaw(0.9, 20.0, 0.9), PowerLaw(2.0, 3.0, 0.15)])
def test_the_parameters_of_a_law_without_noise_are_recovered(law: PowerLaw) -> None:
    steps = [float(step) for step in range(50, 3000, 50)]
    found = fit_power_law(steps, [law.at(step) for step in steps])
    assert found is not None
    assert found.law.exponent == pytest.approx(law.exponent, rel=0.02)
    assert found.law.limit == pytest.approx(law.limit, rel=0.02)
    assert found.at(1e5).value == pytest.approx(law.at(1e5), rel=0.02)


def test_intervals_contain_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    steps = np.arange(20.0, 260.0, 10.0)
    laws, measurements, trials = 0, 0, 80
    for _ in range(trials):
        losses = LAW.limit + LAW.amplitude * steps**-LAW.exponent + rng.normal(0, 0.02, len(steps))
        found = fit_power_law(list(steps), list(losses))
        assert found is not None
        law, measurement = found.at(500.0, noise=False), found.at(500.0)
        laws += law.low <= LAW.at(500.0) <= law.high
        measurements += measurement.low <= LAW.at(500.0) + rng.normal(0, 0.02) <= measurement.high
    # 90 %; of 80 binomial draws 95 % lie within 66 and 77
    assert 62 <= laws <= 79 and 64 <= measurements <= 80


def test_a_loss_that_does_not_fall_stays_and_four_points_are_too_few() -> None:
    flat = fit_power_law([float(n) for n in range(1, 20)], [2.0] * 19)
    assert flat is not None and flat.at(1e6).value == pytest.approx(2.0)
    rising = fit_power_law([float(n) for n in range(1, 20)], [1 + n / 20 for n in range(1, 20)])
    assert rising is not None and rising.law.amplitude == 0.0
    assert fit_power_law([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.5, 2.2]) is None


def training(evaluations: int, last: int, total: int) -> Iterator[AnyEvent]:
    """The events of a training that follows `LAW` in bits per byte, at 8 bits for each token of a byte."""
    yield StageFinished(stage="tokenize", artifact="tokens", facts={"bytes_per_token": 1.0})
    nat = float(np.log(2))
    for step in range(1, last + 1):
        loss = nat * (LAW.at(step) - 0.05)  # lower than that of the held-out text
        metric = Metric(
            step=step, loss=loss, lr=1e-3, grad_norm=1.0, tokens=step * 100, seconds=step / 10, progress=step / total
        )
        yield metric
        if step % (last // evaluations) == 0:
            yield Evaluation(step=step, loss=nat * LAW.at(step), train_loss=None, bits_per_byte=LAW.at(step), best=True)


def decaying(factor: float, last: int, total: int = 1000) -> Iterator[AnyEvent]:
    """A training whose loss falls by a fifth in the last two fifths, where the learning rate decays."""
    nat = float(np.log(2))

    def bits(step: int) -> float:
        return factor * LAW.at(step) * (1 - 0.2 * max(0.0, step / total - 0.6) / 0.4)

    for event in training(50, last, total):
        if isinstance(event, Evaluation):
            event = replace(event, bits_per_byte=bits(event.step), loss=nat * bits(event.step))
        yield event
    if last == total:
        yield Evaluation(step=total, loss=1.0, train_loss=None, bits_per_byte=bits(total), best=True, final=True)


def test_trials_that_are_done_correct_the_forecast_for_the_decay_at_the_end() -> None:
    earlier = [curves_of(decaying(factor, 1000)) for factor in (0.9, 1.1, 1.2)]
    for share in (0.3, 0.5, 0.8):
        curves = curves_of(decaying(1.0, int(1000 * share)))
        alone, corrected = forecast_final(curves, 65_536), forecast_final(curves, 65_536, earlier)
        assert alone is not None and corrected is not None
        truth = 0.8 * LAW.at(1000)
        assert abs(corrected.final.value - truth) < 0.01 < abs(alone.final.value - truth)
        assert corrected.final.low < truth < corrected.final.high
        assert corrected.earlier == 3 and alone.earlier == 0
        assert forecast_final(curves, 65_536, [*earlier[:1], curves]) == alone, "one of them has not ended"


def curves_of(events: Iterator[AnyEvent]) -> Curves:
    curves = Curves()
    for event in events:
        curves.absorb(event)
    return curves


@pytest.mark.parametrize(("evaluations", "source"), [(20, "evaluations"), (2, "training loss")])
def test_the_final_loss_of_a_training_is_forecast(evaluations: int, source: str) -> None:
    found = forecast_final(curves_of(training(evaluations, 400, 1000)), 16_384)
    assert found is not None and found.source == source
    assert found.end == pytest.approx(1000) and found.progress == pytest.approx(0.4)
    assert found.final.value == pytest.approx(LAW.at(1000), abs=0.01)
    assert found.final.low <= found.final.value <= found.final.high


def test_there_is_no_forecast_at_the_beginning_and_without_an_evaluation() -> None:
    assert forecast_final(Curves(), 16_384) is None
    assert forecast_final(curves_of(training(10, 100, 1000)), 16_384) is None
    curves = curves_of(event for event in training(5, 400, 1000) if not isinstance(event, Evaluation))
    assert forecast_final(curves, 16_384) is None


def ended(number: int, seconds: float) -> Trial:
    result = TrialEnded(
        number=number, outcome="done", bits_per_byte=2.0, seconds=seconds, flops=seconds * 1e9, at=100.0 + seconds + 5
    )
    return Trial(
        number=number, run_id=f"run-{number}", values={}, seed=1, origin="sampled", created_at=100.0, ended=result
    )


def running(progress: float, seconds: float) -> Summary:
    metric = Metric(step=10, loss=2.0, lr=1e-3, grad_norm=1.0, tokens=100, seconds=seconds, progress=progress)
    return Summary(metric=metric)


def test_what_a_study_will_still_take(workspace: Workspace) -> None:
    study = new_study(workspace, trials=6, parallel=2)
    trials = [ended(1, 30.0), ended(2, 50.0)]
    assert remaining(study, trials, {}) == (4, 160.0, (160.0 + 4 * 5) / 2, 160e9)
    open_trial = Trial(number=3, run_id="run-3", values={}, seed=1, origin="sampled")
    assert remaining(study, [*trials, open_trial], {3: running(0.25, 10.0)}) == (4, 150.0, (150.0 + 3 * 5) / 2, 150e9)


@pytest.mark.parametrize(
    ("settings", "left"),
    [({"trials": 2}, 0), ({"trials": None, "minutes": 4.0}, 4), ({"trials": 3, "minutes": 60.0}, 1)],
)
def test_the_nearest_limit_counts(workspace: Workspace, settings: dict[str, Any], left: int) -> None:
    study = new_study(workspace, **settings)
    found = remaining(study, [ended(1, 30.0), ended(2, 50.0)], {})
    assert found is not None and found.trials == left


def test_a_grid_ends_with_its_combinations_and_nothing_is_known_of_steps(workspace: Workspace) -> None:
    space = {"train.lr": [0.001, 0.01], "model.n_layer": [1, 2, 3]}
    study = new_study(workspace, sampler="grid", trials=None, repeats=2, space=space)
    found = remaining(study, [ended(1, 30.0)], {})
    assert found is not None and found.trials == 11
    by_steps = new_study(workspace, "train.steps=10", "train.minutes=none")
    assert remaining(by_steps, [], {}) is None


def test_trials_of_successive_halving_take_the_share_that_they_train_on_average(workspace: Workspace) -> None:
    assert mean_share(Scheduler(kind="asha")) == pytest.approx(1 / 9 + (2 / 9) / 3 + (2 / 3) / 9)
    assert mean_share(Scheduler()) == 1.0
    study = new_study(workspace, trials=6, scheduler=Scheduler(kind="asha"))
    waits = Trial(number=2, run_id="run-2", values={}, seed=1, origin="sampled", stop_at=1 / 9)
    waits.rungs = [TrialPaused(number=2, share=1 / 9, bits_per_byte=2.0, seconds=3.0)]
    trains = Trial(number=3, run_id="run-3", values={}, seed=1, origin="sampled", stop_at=1 / 3)
    found = remaining(study, [ended(1, 27.0), waits, trains], {3: running(0.2, 6.0)})
    assert found is not None and found.trials == 4
    assert found.training_seconds == pytest.approx(10.0 - 6.0 + 3 * 7.0)
