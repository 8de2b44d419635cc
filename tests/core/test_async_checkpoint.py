"""Saving in the background: the state at the request, one after the other, and a full disk."""

from __future__ import annotations

import resource
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
import torch

from core.errors import DiskError
from core.events import CheckpointSaved, Event, Metric, Note
from core.model.memory import checkpoint_bytes
from core.model.weights import write_tensors
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.train.checkpoint import Snapshot, TrainingInputs
from core.train.trainer import Trainer
from tests.core.training import (
    CPU,
    checkpoint_steps,
    checkpoint_tensors,
    newest_tensors,
    of_type,
    stop_at,
    tensors_equal,
    train,
)
from tests.run_code import run_code
from tests.waiting import wait_for

pytestmark = pytest.mark.heavy

Make = Callable[..., Recipe]


def block_writes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make checkpoint writes wait until the returned function is called."""
    allowed, write = threading.Event(), write_tensors

    def write_when_allowed(tensors: dict[str, torch.Tensor], path: Path) -> None:
        allowed.wait()
        write(tensors, path)

    monkeypatch.setattr("core.train.checkpoint.write_tensors", write_when_allowed)
    return allowed.set


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_checkpoint_is_the_state_at_its_step_however_late_it_is_written(
    make_recipe: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    recipe = make_recipe("train.steps=40", f"train.optimizer={optimizer}")
    for name in ("stopped", "whole"):
        (tmp_path / name).mkdir()
    train(Trainer(recipe, tokens, tmp_path / "stopped", CPU), stop_at(20))
    trainer = Trainer(recipe, tokens, tmp_path / "whole", CPU)
    release = block_writes(monkeypatch)

    def on_step(metric: Metric) -> None:
        if metric.step == 35:
            assert not list((tmp_path / "whole").glob("step-*"))
            release()

    events = train(trainer, on_step)
    first, last = of_type(CheckpointSaved, events)
    assert (first.step, last.step) == (20, 40)
    earlier_steps = [metric.step for metric in of_type(Metric, events[: events.index(first)])]
    assert earlier_steps[-1] >= 35  # reported once it is on disk
    left, right = (checkpoint_tensors(tmp_path / name / "step-00000020") for name in ("stopped", "whole"))
    assert tensors_equal(left, right)


def test_a_second_checkpoint_waits_for_the_first_and_both_are_saved(
    make_recipe: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(make_recipe("train.steps=60"), tokens, tmp_path, CPU)
    release = block_writes(monkeypatch)

    def on_step(metric: Metric) -> None:
        if metric.step == 40:
            threading.Timer(0.3, release).start()  # the loop is about to wait for it

    events = train(trainer, on_step)
    assert [saved.step for saved in of_type(CheckpointSaved, events)] == [20, 40, 60]


def test_closing_a_trainer_finishes_the_checkpoint_being_written(
    make_recipe: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(make_recipe("train.steps=60"), tokens, tmp_path, CPU)
    release = block_writes(monkeypatch)
    stream = trainer.run()
    for event in stream:
        if isinstance(event, Metric) and event.step == 21:
            break
    threading.Timer(0.2, release).start()
    stream.close()
    assert checkpoint_steps(tmp_path) == [20]


@pytest.mark.parametrize("available", [0, 10**9])
def test_with_too_little_memory_a_checkpoint_is_written_without_a_copy(
    make_recipe: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: int
) -> None:
    def copied(_: Snapshot) -> NoReturn:
        assert available, "it was copied"
        raise MemoryError  # less is available than the system reported

    for name in ("short", "ample"):
        (tmp_path / name).mkdir()
    recipe = make_recipe("train.steps=30")
    train(Trainer(recipe, tokens, tmp_path / "ample", CPU))
    monkeypatch.setattr("core.train.async_checkpoint.available_memory", lambda: available)
    monkeypatch.setattr(Snapshot, "copied", copied)
    events = train(Trainer(recipe, tokens, tmp_path / "short", CPU))
    steps = [(type(event).__name__, event.step) for event in events if isinstance(event, Metric | CheckpointSaved)]
    assert steps[19:22] == [("Metric", 20), ("CheckpointSaved", 20), ("Metric", 21)]
    assert tensors_equal(newest_tensors(tmp_path / "short"), newest_tensors(tmp_path / "ample"))


def test_checkpoints_are_saved_after_the_tokens_were_deleted(
    make_recipe: Make, private_tokens: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()

    def delete(metric: Metric) -> None:
        if metric.step == 5:
            shutil.rmtree(private_tokens.path)

    events = train(Trainer(make_recipe("train.steps=30"), private_tokens, tmp_path / "run", CPU), delete)
    assert [saved.step for saved in of_type(CheckpointSaved, events)] == [20, 30]
    assert not [note for note in of_type(Note, events) if note.level == "warning"]
    assert Artifact.open(tmp_path / "run" / "step-00000030", verify=True).facts["finished"]


def test_the_size_of_a_snapshot_is_that_of_the_checkpoint(make_recipe: Make, tokens: Artifact, tmp_path: Path) -> None:
    trainer = Trainer(make_recipe("train.steps=1", "model.n_embd=128"), tokens, tmp_path, CPU)
    train(trainer)
    inputs = TrainingInputs(trainer.recipe, tokens, "0" * 16)
    size = Snapshot.take(trainer.parallel, trainer.optimizers, trainer.state, inputs).size
    taken = sum(file.stat().st_size for file in (tmp_path / "step-00000001").iterdir())
    assert taken <= size <= 1.1 * taken


@pytest.mark.parametrize("full_from", [0, 30])
def test_a_full_disk_skips_a_checkpoint_with_a_warning_but_never_the_last_one(
    make_recipe: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_from: int
) -> None:
    recipe, events = make_recipe("train.steps=60"), list[Event]()

    def fill(metric: Metric) -> None:
        if metric.step >= full_from:
            monkeypatch.setattr("core.train.async_checkpoint.free_bytes", lambda _: 1000)

    with pytest.raises(DiskError) as caught:
        train(Trainer(recipe, tokens, tmp_path, CPU), fill, events)
    saved = [20] if full_from else []
    kept = "step 20 is kept" if full_from else "no checkpoint had been saved yet"
    assert [event.step for event in of_type(CheckpointSaved, events)] == saved
    warnings = [note for note in of_type(Note, events) if note.level == "warning"]
    assert len(warnings) == 2 - len(saved)
    assert f"no checkpoint at step {40 if full_from else 20}" in warnings[0].text
    assert "too little room" in warnings[0].text and kept in warnings[0].text
    assert kept in caught.value.kept
    monkeypatch.undo()
    finished = Trainer(recipe, tokens, tmp_path, CPU)
    train(finished)
    assert finished.state.finished


def test_a_disk_too_small_for_one_checkpoint_is_an_error_before_the_first_step(
    make_recipe: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.train.async_checkpoint.free_bytes", lambda _: 1000)
    events: list[Event] = []
    with pytest.raises(DiskError, match=r"1\.00 kB free of"):
        train(Trainer(make_recipe("train.steps=30"), tokens, tmp_path, CPU), events=events)
    assert not list(of_type(Metric, events))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_estimate_before_the_first_step_is_the_size_of_a_checkpoint(
    make_recipe: Make, tokens: Artifact, tmp_path: Path, optimizer: str
) -> None:
    recipe = make_recipe("train.steps=1", "model.n_embd=128", f"train.optimizer={optimizer}")
    trainer = Trainer(recipe, tokens, tmp_path, CPU)
    train(trainer)
    taken = sum(file.stat().st_size for file in (tmp_path / "step-00000001").iterdir())
    assert 0.9 * taken <= sum(checkpoint_bytes(recipe, trainer.vocabulary.size)) <= taken


def train_on_a_filling_disk(tokens: str, recipe: str, directory: str) -> None:
    """Runs in a process of its own: from step 30 until a checkpoint has failed no file can grow beyond 20 kB."""

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    trainer = Trainer(msgspec.json.decode(recipe, type=Recipe), Artifact.open(Path(tokens)), Path(directory), CPU)
    for event in trainer.run():
        match event:
            case Metric(step=30):
                wait_for((Path(directory) / "step-00000020").exists)
                limit(20_000)
            case CheckpointSaved(step=step):
                print(step)
            case Note(level="warning", text=text):
                limit(resource.RLIM_INFINITY)
                print(text)


def test_a_write_that_fails_is_skipped_with_a_warning_and_leaves_no_files(
    make_recipe: Make, tokens: Artifact, tmp_path: Path
) -> None:
    call = "import sys; from tests.core.test_async_checkpoint import train_on_a_filling_disk as t; t(*sys.argv[1:])"
    recipe = msgspec.json.encode(make_recipe("train.steps=60")).decode()
    directory = tmp_path / "run"
    directory.mkdir()
    done = run_code(call, tokens.path, recipe, directory)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "20",
        "no checkpoint at step 40: file too large; the checkpoint of step 20 is kept",
        "60",
    ]
    assert sorted(path.name for path in directory.iterdir()) == ["step-00000020", "step-00000060"]
