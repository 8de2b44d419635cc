"""How a training goes on or ends: patience, memory that runs out, numbers that are no numbers."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from core.events import CheckpointSaved, Evaluation, Event, Metric, Note, Resumed
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.train.commands import SaveCheckpoint, Stop
from core.train.non_finite import NonFiniteError
from core.train.out_of_memory import TrainingMemoryError
from core.train.trainer import Trainer
from tests.core.stages import ROOT, note_texts
from tests.core.training import CPU, newest_tensors, of_type, tensors_equal, train

Make = Callable[..., Recipe]

IDLE = ("train.lr=1e-30", "train.muon_lr=1e-30", "train.evaluate_every=5")
"""A model that learns nothing: after the first evaluation none is better, but for the last digits."""


def poison(trainer: Trainer, step: int) -> Callable[[Metric], None]:
    """Spoil one weight after `step`, each time it comes by."""

    def ask(metric: Metric) -> None:
        if metric.step == step:
            with torch.no_grad():
                trainer.model.h[0].mlp.c_fc.weight[0, 0] = torch.nan  # type: ignore[index, union-attr]

    return ask


def test_a_training_says_which_limit_ended_it(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    said = train(Trainer(tiny("train.tokens=2000"), tokens, tmp_path, CPU))
    assert note_texts(said)[-1] == "the training is finished after 16 steps: the limit of 2,000 tokens is reached"


def test_patience_ends_a_training_that_gets_no_better_and_a_resumed_one_at_the_same_step(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    recipe = tiny("train.steps=1000", "train.patience=3", *IDLE)
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = train(Trainer(recipe, tokens, tmp_path / "whole", CPU))
    assert note_texts(whole)[-1] == "the training is finished after 15 steps: 3 evaluations in a row were no better"
    assert [(e.step, e.final) for e in of_type(Evaluation, whole)] == [
        (0, False),
        *((n, n == 16) for n in (5, 10, 15)),
        (15, True),
    ]
    train(Trainer(recipe, tokens, tmp_path / "broken", CPU), lambda metric: (Stop(),) if metric.step == 12 else None)
    again = Trainer(recipe, tokens, tmp_path / "broken", CPU)
    assert note_texts(train(again))[-1] == note_texts(whole)[-1]
    assert again.state.finished
    assert tensors_equal(newest_tensors(tmp_path / "whole"), newest_tensors(tmp_path / "broken"))


def test_checkpoints_that_somebody_asks_for_do_not_use_up_the_patience(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    trainer = Trainer(tiny("train.steps=1000", "train.patience=2", *IDLE), tokens, tmp_path, CPU)
    said = train(trainer, lambda metric: (SaveCheckpoint(),) if metric.step in (1, 2, 3) else None)
    assert [e.step for e in of_type(CheckpointSaved, said)] == [1, 2, 3, 10]
    assert trainer.state.step == 10


def test_numbers_that_are_none_stop_the_training_before_the_weights_are_touched(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    trainer = Trainer(tiny("train.steps=40"), tokens, tmp_path, CPU)
    with pytest.raises(NonFiniteError) as caught:
        train(trainer, poison(trainer, 25))
    assert "step 26, first in the weights h.0.mlp.c_fc.weight" in caught.value.what
    assert "step 20" in caught.value.kept
    assert "train.rollback_on_nan" in caught.value.todo
    assert all(p.isfinite().all() for n, p in trainer.model.named_parameters() if n != "h.0.mlp.c_fc.weight")


def test_a_step_back_is_taken_once_at_half_the_rate_which_a_resumed_training_keeps(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    recipe = tiny("train.steps=60", "train.rollback_on_nan=true", "train.schedule=constant", "train.warmup=0")
    trainer, said, times = Trainer(recipe, tokens, tmp_path, CPU), list[Event](), list[int]()

    def once(metric: Metric) -> tuple[Stop, ...] | None:
        times.append(metric.step)
        if times.count(25) == 1:
            poison(trainer, 25)(metric)
        return (Stop(),) if metric.step == 45 else None

    train(trainer, once, said)
    assert times == [*range(1, 26), *range(21, 46)]
    assert [e.step for e in of_type(Resumed, said)] == [20]
    note = next(note for note in note_texts(said) if "back to step 20" in note)
    assert "first in the weights h.0.mlp.c_fc.weight; back to step 20, at 0.5 times the learning rate" in note
    rates = [metric.lr for metric in of_type(Metric, said)]
    assert rates == [recipe.train.lr] * 25 + [recipe.train.lr / 2] * 25
    again = Trainer(recipe, tokens, tmp_path, CPU)
    with pytest.raises(NonFiniteError) as caught:
        train(again, poison(again, 50), said := [])
    assert {metric.lr for metric in of_type(Metric, said)} == {recipe.train.lr / 2}
    assert "step 45" in caught.value.kept


def test_without_a_checkpoint_there_is_no_step_back(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    trainer = Trainer(tiny("train.steps=40", "train.rollback_on_nan=true"), tokens, tmp_path, CPU)
    with pytest.raises(NonFiniteError) as caught:
        train(trainer, poison(trainer, 5))
    assert "no checkpoint had been saved yet" in caught.value.kept


WIDE = ("model.n_embd=128", "model.block_size=128", "model.dropout=0", "train.batch_size=64")
GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""Lets glibc give freed memory back at once, so that little is left to use again."""


def test_a_training_whose_memory_shrinks_goes_on_in_smaller_pieces_to_the_same_result(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    recipe = tiny(*WIDE, "train.steps=2", "train.evaluate_tokens=5000")
    for name in ("roomy", "tight"):
        (tmp_path / name).mkdir()
    roomy = Trainer(recipe, tokens, tmp_path / "roomy", CPU)
    losses = [event.loss for event in train(roomy) if isinstance(event, Metric | Evaluation)]
    assert roomy.state.micro_batch == 64
    code = "import sys; from tests.core.test_endings import confined; confined(*sys.argv[1:])"
    arguments = [msgspec.json.encode(recipe).decode(), str(tokens.path), str(tmp_path / "tight")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | GIVEN_BACK | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    tight = json.loads(done.stdout)
    assert 1 <= tight["micro_batch"] < 64
    assert any("memory ran out: step 2 goes on with" in note for note in tight["notes"])
    assert tight["losses"] == pytest.approx(losses, abs=1e-5)
    resumed = Trainer(recipe, tokens, tmp_path / "tight", CPU)
    train(resumed)
    assert resumed.state.micro_batch == tight["micro_batch"]


def confined(recipe: str, tokens: str, directory: str) -> None:
    """What that test runs: after the first step there are only 80 MiB more of addresses than are in use."""
    trainer = Trainer(msgspec.json.decode(recipe, type=Recipe), Artifact.open(Path(tokens)), Path(directory), CPU)

    def confine(metric: Metric) -> None:
        if metric.step == 1:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 80 * 2**20, resource.RLIM_INFINITY))

    said = train(trainer, confine)
    losses = [event.loss for event in said if isinstance(event, Metric | Evaluation)]
    print(json.dumps({"micro_batch": trainer.state.micro_batch, "losses": losses, "notes": note_texts(said)}))


def test_where_even_one_sequence_does_not_fit_the_training_ends_in_a_sentence(
    tiny: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tiny("train.steps=40"), tokens, tmp_path, CPU)

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def fill(metric: Metric) -> None:
        if metric.step == 21:
            monkeypatch.setattr(trainer.model, "loss", full)

    with pytest.raises(TrainingMemoryError) as caught:
        train(trainer, fill)
    assert "memory is too small for this model, even for one sequence of 32 tokens" in caught.value.what
    assert "step 20 is kept" in caught.value.kept


def test_an_evaluation_too_large_for_the_memory_is_made_in_smaller_pieces(
    tiny: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tiny("train.steps=2"), tokens, tmp_path, CPU)
    real = trainer.model.loss

    def short(ids: torch.Tensor, *rest: object, **more: object) -> object:
        if not trainer.model.training and len(ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(ids, *rest, **more)  # type: ignore[arg-type]

    # not before: the try in front of the first step would find it
    def shrink(metric: Metric) -> None:
        monkeypatch.setattr(trainer.model, "loss", short)

    said = train(trainer, shrink)
    assert [event.text for event in of_type(Note, said) if event.level == "warning"] == [
        "memory ran out: evaluation goes on with one sequence at a time, to the same result"
    ]
    assert trainer.state.micro_batch == 4
    assert len(list(of_type(Evaluation, said))) == 3
