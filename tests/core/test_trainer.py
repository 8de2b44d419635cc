"""Training: what it says and learns, bit-identical resuming, how it ends."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from core.events import CheckpointSaved, Evaluation, Event, GeneratedSample, Metric, ModelInfo, Progress, Resumed
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.train.checkpoint import newest_checkpoint
from core.train.commands import GenerateSample, SaveCheckpoint, Stop
from core.train.trainer import NonFiniteError, Trainer, TrainingMemoryError
from tests.core.training import CPU, OBJECTIVES, newest_tensors, of_type, tensors_equal, train

Make = Callable[..., Recipe]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_stopped_and_resumed_anywhere_the_weights_are_those_of_an_undisturbed_run(
    tiny: Make, tokens: Artifact, tmp_path: Path, objective: tuple[str, ...], optimizer: str
) -> None:
    # with dropout
    recipe = tiny("train.steps=50", "train.micro_batch=3", f"train.optimizer={optimizer}", *objective)
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = train(Trainer(recipe, tokens, tmp_path / "whole", CPU))
    said: list[Event] = []
    for stop in (7, 20, 33, None):
        trainer = Trainer(recipe, tokens, tmp_path / "broken", CPU)
        said += train(trainer, lambda metric, stop=stop: (Stop(),) if metric.step == stop else None)  # type: ignore[misc]
    assert tensors_equal(newest_tensors(tmp_path / "whole"), newest_tensors(tmp_path / "broken"))

    def losses(events: list[Event]) -> list[tuple[int, float, float]]:
        return [(e.step, e.loss, e.grad_norm) for e in of_type(Metric, events) if isinstance(e, Metric)]

    assert losses(whole) == losses(said)
    assert [e.step for e in of_type(Resumed, said) if isinstance(e, Resumed)] == [7, 20, 33]


def test_the_final_evaluation_says_how_far_it_is_and_hears_a_stop(
    tiny: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.train.evaluator.PROGRESS_EVERY", 0.0)
    recipe = tiny("train.steps=3")
    said: list[Event] = []
    talk, commands = Trainer(recipe, tokens, tmp_path, CPU).run(), None
    with contextlib.suppress(StopIteration):
        while True:
            said.append(talk.send(commands))
            final = isinstance(said[-1], Progress) and said[-1].of == "final evaluation"
            commands = (Stop(),) if final and said[-1].done else None  # type: ignore[attr-defined]
    assert isinstance(said[-1], CheckpointSaved), "what was trained is kept"
    assert not any(event.final for event in of_type(Evaluation, said))
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
        said = train(trainer)
        assert trainer.state.micro_batch == size
        found[size] = [e.loss for e in said if isinstance(e, Metric | Evaluation)]
    assert len(found[4]) == 12 + 5
    assert found[4][-1] < found[4][0]
    assert found[3] == pytest.approx(found[4], abs=1e-5)
    assert found[1] == pytest.approx(found[4], abs=1e-5)


def test_training_says_what_it_does_and_learns(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    said = train(
        Trainer(tiny("train.steps=60", "train.lr=0.02"), tokens, tmp_path, CPU),
        lambda metric: (SaveCheckpoint(), GenerateSample(prompt="the", seed=3)) if metric.step == 5 else None,
    )
    shape = next(of_type(ModelInfo, said))
    assert isinstance(shape, ModelInfo)
    assert shape.vocabulary == 300
    evaluations = [e for e in of_type(Evaluation, said) if isinstance(e, Evaluation)]
    assert evaluations[0].step == 0
    assert evaluations[0].loss == pytest.approx(math.log(300), abs=0.1)
    assert evaluations[-1].final
    assert evaluations[-1].loss < 4
    assert evaluations[-1].bits_per_byte < evaluations[-1].loss / math.log(2)  # a token is more than a byte
    assert [e.step for e in of_type(CheckpointSaved, said) if isinstance(e, CheckpointSaved)] == [5, 20, 40, 60]
    samples = [e for e in of_type(GeneratedSample, said) if isinstance(e, GeneratedSample)]
    assert (samples[0].step, samples[0].prompt, samples[0].seed) == (5, "the", 3)


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    trainer = Trainer(tiny("train.steps=40"), tokens, tmp_path, CPU)

    def poison(metric: Metric) -> None:
        if metric.step == 25:
            with torch.no_grad():
                trainer.model.h[0].mlp.c_fc.weight[0, 0] = torch.nan  # type: ignore[index, union-attr]

    with pytest.raises(NonFiniteError) as caught:
        train(trainer, poison)
    assert "step 26" in caught.value.what
    assert "step 20" in caught.value.kept
    assert newest_checkpoint(tmp_path)[0] is not None
    assert all(p.isfinite().all() for n, p in trainer.model.named_parameters() if n != "h.0.mlp.c_fc.weight")


@pytest.mark.skipif(psutil.virtual_memory().total > 100e9, reason="it would fit")
def test_a_model_that_does_not_fit_the_memory_is_said_to(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    with pytest.raises(TrainingMemoryError) as caught:  # 120 GB of queries, keys and values
        Trainer(tiny("model.n_embd=100000", "model.positions=learned"), tokens, tmp_path, CPU)
    assert "memory is too small" in caught.value.what
    assert "model.n_embd=" in caught.value.todo


def test_a_pause_is_no_time_of_training(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    import time

    trainer = Trainer(tiny("train.steps=5"), tokens, tmp_path, CPU)

    def pause(metric: Metric) -> None:
        if metric.step == 2:
            time.sleep(0.7)

    began = time.monotonic()
    train(trainer, pause)
    assert trainer.state.seconds < time.monotonic() - began - 0.65


SELDOM = ("train.evaluate_every=1000", "train.sample_every=1000", "train.checkpoint_every=1000")


def by_clock(recipe: Recipe, tokens: Artifact, directory: Path, tick: float) -> list[Event]:
    """What a trainer says to whom each look at the clock is `tick` seconds after the one before."""
    directory.mkdir()
    clock = itertools.count(step=tick)
    return train(Trainer(recipe, tokens, directory, CPU, now=lambda: float(next(clock))))


def test_a_slow_training_evaluates_draws_and_saves_by_the_clock(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    recipe = tiny("train.steps=40", 'sample.prompts=["a", "b"]', *SELDOM)
    said = by_clock(recipe, tokens, tmp_path / "slow", 5.0)
    at = {metric.step: metric.seconds for metric in of_type(Metric, said)}
    assert at[40] > 150
    assert [sample.prompt for sample in of_type(GeneratedSample, said)][:4] == ["a", "b", "a", "b"]
    for kind in (Evaluation, GeneratedSample, CheckpointSaved):
        moments = [at[event.step] for event in of_type(kind, said) if 0 < event.step < 40]
        assert len(moments) >= 3, kind
        assert 30 <= moments[0] < 60
    quick = by_clock(recipe, tokens, tmp_path / "quick", 0.001)
    assert [saved.step for saved in of_type(CheckpointSaved, quick)] == [40]
    assert not list(of_type(GeneratedSample, quick))
    weights = [newest_tensors(tmp_path / name) for name in ("slow", "quick")]
    assert tensors_equal(*weights)  # what came by the clock left no trace in what is learned


def test_zero_minutes_leave_it_to_the_steps(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    never = ("train.evaluate_minutes=0", "train.sample_minutes=0", "train.checkpoint_minutes=0")
    said = by_clock(tiny("train.steps=40", *SELDOM, *never), tokens, tmp_path / "slow", 5.0)
    assert [saved.step for saved in of_type(CheckpointSaved, said)] == [40]
    assert {evaluation.step for evaluation in of_type(Evaluation, said)} == {0, 40}


def test_evaluations_by_the_clock_do_not_decide_when_patience_is_over(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    recipe = tiny(
        "train.steps=60", "train.evaluate_every=10", "train.patience=2", "train.lr=1e-12", "train.muon_lr=1e-12"
    )
    ends = [
        max(metric.step for metric in of_type(Metric, by_clock(recipe, tokens, tmp_path / str(tick), tick)))
        for tick in (0.001, 20.0)
    ]
    assert ends[0] == ends[1] < 60
