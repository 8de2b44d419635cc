"""The training loop: its events, bit-identical resuming, intervals by the clock, and how it ends."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.events import (
    CheckpointSaved,
    Evaluation,
    Event,
    GeneratedSample,
    Metric,
    ModelInfo,
    Progress,
    Resumed,
    RungReached,
)
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.train.commands import GenerateSample, SaveCheckpoint, Stop
from core.train.out_of_memory import TrainingMemoryError
from core.train.trainer import Trainer
from tests.core.stages import note_texts
from tests.core.training import CPU, OBJECTIVES, newest_tensors, of_type, tensors_equal, train

pytestmark = pytest.mark.heavy

Make = Callable[..., Recipe]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_training_stopped_and_resumed_is_bit_identical_to_an_uninterrupted_one(
    tiny: Make, tokens: Artifact, tmp_path: Path, objective: tuple[str, ...], optimizer: str
) -> None:
    # with dropout
    recipe = tiny("train.steps=50", "train.micro_batch=3", f"train.optimizer={optimizer}", *objective)
    (tmp_path / "whole").mkdir()
    (tmp_path / "interrupted").mkdir()
    whole = train(Trainer(recipe, tokens, tmp_path / "whole", CPU))
    events: list[Event] = []
    for stop in (7, 20, 33, None):
        trainer = Trainer(recipe, tokens, tmp_path / "interrupted", CPU)
        events += train(trainer, lambda metric, stop=stop: (Stop(),) if metric.step == stop else None)
    assert tensors_equal(newest_tensors(tmp_path / "whole"), newest_tensors(tmp_path / "interrupted"))

    def losses(events: list[Event]) -> list[tuple[int, float, float]]:
        return [(e.step, e.loss, e.grad_norm) for e in of_type(Metric, events) if isinstance(e, Metric)]

    assert losses(whole) == losses(events)
    assert [e.step for e in of_type(Resumed, events) if isinstance(e, Resumed)] == [7, 20, 33]


def test_the_final_evaluation_reports_progress_and_can_be_stopped(
    tiny: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.train.evaluator.PROGRESS_EVERY", 0.0)
    recipe = tiny("train.steps=3")
    events: list[Event] = []
    stream, commands = Trainer(recipe, tokens, tmp_path, CPU).run(), None
    with contextlib.suppress(StopIteration):
        while True:
            events.append(stream.send(commands))
            final = isinstance(events[-1], Progress) and events[-1].of == "final evaluation"
            commands = (Stop(),) if final and events[-1].done else None  # type: ignore[attr-defined]
    assert isinstance(events[-1], CheckpointSaved), "the trained weights are saved"
    assert not any(event.final for event in of_type(Evaluation, events))
    rest = train(Trainer(recipe, tokens, tmp_path, CPU))
    assert [event.step for event in of_type(Resumed, rest)] == [3]
    shares = [event.done for event in of_type(Progress, rest) if event.of == "final evaluation"]
    assert shares == sorted(set(shares))
    assert shares[0] == 0 < shares[-1]
    assert [event.step for event in of_type(Evaluation, rest) if event.final] == [3]
    assert isinstance(rest[-1], CheckpointSaved)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_the_micro_batch_changes_no_loss(
    tiny: Make, tokens: Artifact, tmp_path: Path, objective: tuple[str, ...]
) -> None:
    plain = ("model.dropout=0", "train.optimizer=adamw", "train.lr=1e-3", "train.steps=12", "train.evaluate_every=4")
    found = {}
    for size in (4, 3, 1):
        (tmp_path / str(size)).mkdir()
        trainer = Trainer(tiny(*plain, f"train.micro_batch={size}", *objective), tokens, tmp_path / str(size), CPU)
        events = train(trainer)
        assert trainer.state.micro_batch == size
        found[size] = [e.loss for e in events if isinstance(e, Metric | Evaluation)]
    assert len(found[4]) == 12 + 5
    assert found[4][-1] < found[4][0]
    assert found[3] == pytest.approx(found[4], abs=1e-5)
    assert found[1] == pytest.approx(found[4], abs=1e-5)


def test_training_emits_its_events_and_lowers_the_loss(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    events = train(
        Trainer(tiny("train.steps=60", "train.lr=0.02"), tokens, tmp_path, CPU),
        lambda metric: (SaveCheckpoint(), GenerateSample(prompt="the", seed=3)) if metric.step == 5 else None,
    )
    shape = next(of_type(ModelInfo, events))
    assert isinstance(shape, ModelInfo)
    assert shape.vocabulary == 300
    evaluations = [e for e in of_type(Evaluation, events) if isinstance(e, Evaluation)]
    assert evaluations[0].step == 0
    assert evaluations[0].loss == pytest.approx(math.log(300), abs=0.1)
    assert evaluations[-1].final
    assert evaluations[-1].loss < 4
    assert evaluations[-1].bits_per_byte < evaluations[-1].loss / math.log(2)  # a token is more than a byte
    assert [e.step for e in of_type(CheckpointSaved, events) if isinstance(e, CheckpointSaved)] == [5, 20, 40, 60]
    samples = [e for e in of_type(GeneratedSample, events) if isinstance(e, GeneratedSample)]
    assert (samples[0].step, samples[0].prompt, samples[0].seed) == (5, "the", 3)


@pytest.mark.skipif(psutil.virtual_memory().total > 100e9, reason="it would fit")
def test_a_model_larger_than_memory_is_a_training_memory_error(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    with pytest.raises(TrainingMemoryError) as caught:  # 120 GB of queries, keys and values
        Trainer(tiny("model.n_embd=100000", "model.positions=learned"), tokens, tmp_path, CPU)
    assert "memory is too small" in caught.value.what
    assert "model.n_embd=" in caught.value.todo


def test_a_pause_does_not_count_as_training_time(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    import time

    trainer = Trainer(tiny("train.steps=5"), tokens, tmp_path, CPU)

    def pause(metric: Metric) -> None:
        if metric.step == 2:
            time.sleep(0.7)

    began = time.monotonic()
    train(trainer, pause)
    assert trainer.state.seconds < time.monotonic() - began - 0.65


RARELY = ("train.evaluate_every=1000", "train.sample_every=1000", "train.checkpoint_every=1000")


def by_clock(recipe: Recipe, tokens: Artifact, directory: Path, tick: float) -> list[Event]:
    """The events of a trainer whose clock advances by `tick` seconds at each reading."""
    directory.mkdir()
    clock = itertools.count(step=tick)
    return train(Trainer(recipe, tokens, directory, CPU, now=lambda: float(next(clock))))


def test_a_slow_training_evaluates_samples_and_saves_by_the_clock(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    recipe = tiny("train.steps=40", 'sample.prompts=["a", "b"]', *RARELY)
    events = by_clock(recipe, tokens, tmp_path / "slow", 5.0)
    seconds_at_step = {metric.step: metric.seconds for metric in of_type(Metric, events)}
    assert seconds_at_step[40] > 150
    assert [sample.prompt for sample in of_type(GeneratedSample, events)][:4] == ["a", "b", "a", "b"]
    kinds: list[type[Any]] = [Evaluation, GeneratedSample, CheckpointSaved]
    for kind in kinds:
        moments = [seconds_at_step[event.step] for event in of_type(kind, events) if 0 < event.step < 40]
        assert len(moments) >= 3, kind
        assert 30 <= moments[0] < 60
    quick = by_clock(recipe, tokens, tmp_path / "quick", 0.001)
    assert [saved.step for saved in of_type(CheckpointSaved, quick)] == [40]
    assert not list(of_type(GeneratedSample, quick))
    weights = [newest_tensors(tmp_path / name) for name in ("slow", "quick")]
    assert tensors_equal(*weights)  # actions by the clock do not change the weights


def test_zero_minutes_disable_the_clock(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    never = ("train.evaluate_minutes=0", "train.sample_minutes=0", "train.checkpoint_minutes=0")
    events = by_clock(tiny("train.steps=40", *RARELY, *never), tokens, tmp_path / "slow", 5.0)
    assert [saved.step for saved in of_type(CheckpointSaved, events)] == [40]
    assert {evaluation.step for evaluation in of_type(Evaluation, events)} == {0, 40}


def test_evaluations_by_the_clock_do_not_count_towards_patience(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    recipe = tiny(
        "train.steps=60", "train.evaluate_every=10", "train.patience=2", "train.lr=1e-12", "train.muon_lr=1e-12"
    )
    ends = [
        max(metric.step for metric in of_type(Metric, by_clock(recipe, tokens, tmp_path / str(tick), tick)))
        for tick in (0.001, 20.0)
    ]
    assert ends[0] == ends[1] < 60


IDLE = ("train.lr=1e-30", "train.muon_lr=1e-30", "train.evaluate_every=5")
"""Learning rates near zero: no evaluation improves on the first one by more than rounding."""


def test_the_last_note_names_the_limit_that_ended_training(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    events = train(Trainer(tiny("train.tokens=2000"), tokens, tmp_path, CPU))
    assert note_texts(events)[-1] == "the training is finished after 16 steps: the limit of 2,000 tokens is reached"


def test_patience_ends_training_without_improvement_at_the_same_step_after_a_resume(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    recipe = tiny("train.steps=1000", "train.patience=3", *IDLE)
    (tmp_path / "whole").mkdir()
    (tmp_path / "interrupted").mkdir()
    whole = train(Trainer(recipe, tokens, tmp_path / "whole", CPU))
    assert note_texts(whole)[-1] == "the training is finished after 15 steps: 3 evaluations in a row were no better"
    assert [(e.step, e.final) for e in of_type(Evaluation, whole)] == [
        (0, False),
        *((n, n == 16) for n in (5, 10, 15)),
        (15, True),
    ]
    train(
        Trainer(recipe, tokens, tmp_path / "interrupted", CPU), lambda metric: (Stop(),) if metric.step == 12 else None
    )
    again = Trainer(recipe, tokens, tmp_path / "interrupted", CPU)
    assert note_texts(train(again))[-1] == note_texts(whole)[-1]
    assert again.state.finished
    assert tensors_equal(newest_tensors(tmp_path / "whole"), newest_tensors(tmp_path / "interrupted"))


def test_requested_checkpoints_do_not_count_towards_patience(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    trainer = Trainer(tiny("train.steps=1000", "train.patience=2", *IDLE), tokens, tmp_path, CPU)
    events = train(trainer, lambda metric: (SaveCheckpoint(),) if metric.step in (1, 2, 3) else None)
    assert [e.step for e in of_type(CheckpointSaved, events)] == [1, 2, 3, 10]
    assert trainer.state.step == 10


def test_a_training_that_waits_at_rungs_has_the_losses_and_weights_of_one_that_does_not(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    recipe = tiny("train.steps=9", "model.dropout=0.1", "train.schedule=cosine", "train.evaluate_every=4")
    for name in ("whole", "rungs"):
        (tmp_path / name).mkdir()
    whole = list(of_type(Metric, train(Trainer(recipe, tokens, tmp_path / "whole", CPU))))
    parts: list[Event] = []
    for stop in (1 / 9, 1 / 3, 1 / 3, 0.5, 1.0):  # the second time at 1/3 there is nothing to train
        parts += train(Trainer(recipe, tokens, tmp_path / "rungs", CPU, stop_at=stop))
    rungs = list(of_type(RungReached, parts))
    assert [(rung.step, rung.share) for rung in rungs] == [(1, 1 / 9), (3, 1 / 3), (3, 1 / 3), (5, 0.5)]
    evaluations = {evaluation.step: evaluation.bits_per_byte for evaluation in of_type(Evaluation, parts)}
    assert all(rung.bits_per_byte == evaluations[rung.step] for rung in rungs)
    steps = list(of_type(Metric, parts))
    assert [(metric.step, metric.loss, metric.lr) for metric in steps] == [
        (metric.step, metric.loss, metric.lr) for metric in whole
    ]
    assert tensors_equal(newest_tensors(tmp_path / "rungs"), newest_tensors(tmp_path / "whole"))
