"""Training: batches as a function of the step, bit-identical resuming, checkpoints that survive damage."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from core.artifact import Artifact
from core.events import Evaluation, Event, Metric, Note, Resumed, Sample, Saved, Shape
from core.model.device import Device
from core.pipeline import pipeline
from core.recipe import Recipe, Train
from core.tokenize.shards import TokenStream
from core.train import checkpoint as checkpoints
from core.train.batches import Batches, TooFewTokens, permute
from core.train.commands import Checkpoint, Commands, Draw, Stop
from core.train.schedule import progress, warm_and_cool
from core.train.trainer import NotFinite, OutOfMemory, Trainer
from core.trouble import DiskTrouble
from core.workspace import Workspace

CPU = Device(name="cpu", dtype=torch.float32, words="")

Make = Callable[..., Recipe]


@pytest.fixture
def tokens(workspace: Workspace, tiny: Make, tmp_path: Path) -> Artifact:
    """The token shards of the small corpus."""
    talk = pipeline(tiny("train.steps=1"), workspace, tmp_path / "prepared", CPU)
    (tmp_path / "prepared" / "checkpoints").mkdir(parents=True)
    for _ in talk:
        pass
    return Artifact.open(next((workspace.artifacts / "tokens").glob("corpus-*[0-9a-f]")))


def train(
    trainer: Trainer, ask: Callable[[Metric], Commands | None] = lambda _: None, said: list[Event] | None = None
) -> list[Event]:
    """Drive a trainer to its end; `ask` says what to send in after each step. What it says goes into `said`."""
    said = [] if said is None else said
    talk, commands = trainer.run(), None
    while True:
        try:
            event = talk.send(commands)
        except StopIteration:
            return said
        said.append(event)
        commands = ask(event) if isinstance(event, Metric) else None


def weights(directory: Path) -> dict[str, torch.Tensor]:
    found, _ = checkpoints.newest(directory)
    assert found is not None
    from safetensors.torch import load_file

    return {**load_file(found.path / "model.safetensors"), **load_file(found.path / "train.safetensors")}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def of(kind: type[Event], events: list[Event]) -> Iterator[Event]:
    return (event for event in events if isinstance(event, kind))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 65537])
def test_the_order_of_an_epoch_is_a_permutation(size: int) -> None:
    order = permute(np.arange(size, dtype=np.uint64), size, 7)
    assert sorted(order.tolist()) == list(range(size))
    if size > 100:
        assert order.tolist() != permute(np.arange(size, dtype=np.uint64), size, 8).tolist()


def test_any_number_of_ranks_sees_the_same_windows_and_an_epoch_sees_each_once(tokens: Artifact) -> None:
    stream = TokenStream(tokens.files("train-*.tokens"))

    def starts(step: int, world: int, batch: int) -> list[int]:
        ranks = (
            Batches(stream, block_size=32, batch_size=batch, seed=3, rank=rank, world=world) for rank in range(world)
        )
        return sorted(start for rank in ranks for start in rank.starts(step))

    assert starts(5, 1, 12) == starts(5, 2, 6) == starts(5, 3, 4)
    whole = Batches(stream, block_size=32, batch_size=(len(stream) - 1) // 32 - 1, seed=3)
    first, second = whole.starts(0), whole.starts(1)
    assert len({start // 32 for start in first}) == len(first)
    assert {start % 32 for start in first} != {start % 32 for start in second} or first != second
    assert max(first + second) + 33 <= len(stream)


def test_targets_are_the_inputs_one_token_on(tokens: Artifact) -> None:
    stream = TokenStream(tokens.files("train-*.tokens"))
    batches = Batches(stream, block_size=32, batch_size=4, seed=3)
    ids, targets = batches(9)
    assert ids.shape == targets.shape == (4, 32)
    assert torch.equal(ids[:, 1:], targets[:, :-1])
    for row, start in zip(ids, batches.starts(9), strict=True):
        assert row.tolist() == stream.window(start, 32).tolist()


def test_a_block_longer_than_the_corpus_is_named(tokens: Artifact) -> None:
    stream = TokenStream(tokens.files("train-*.tokens"))
    with pytest.raises(TooFewTokens) as caught:
        Batches(stream, block_size=10**6, batch_size=1, seed=1)
    assert "1,000,001" in caught.value.what
    assert "block_size" in caught.value.todo


def test_the_nearest_limit_ends_the_training_and_the_rate_follows_it() -> None:
    recipe = Train(steps=100, tokens=1000, minutes=1, lr=0.1, lr_final=0.1, warmup=0.1)
    assert progress(recipe, steps=10, tokens=500, seconds=6) == 0.5
    assert progress(recipe, steps=10, tokens=500, seconds=59.9) == pytest.approx(59.9 / 60)
    assert progress(recipe, steps=100, tokens=0, seconds=0) == 1
    assert progress(Train(), steps=10**9, tokens=0, seconds=150) == 0.5  # five minutes when nothing is said
    assert warm_and_cool(recipe, 0) > 0
    assert warm_and_cool(recipe, 0.05) == pytest.approx(0.5)
    assert warm_and_cool(recipe, 0.1) == pytest.approx(1)
    assert warm_and_cool(recipe, 0.55) == pytest.approx(0.1 + 0.9 / 2)
    assert warm_and_cool(recipe, 1) == pytest.approx(0.1)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_stopped_and_resumed_anywhere_the_weights_are_those_of_an_undisturbed_run(
    tiny: Make, tokens: Artifact, tmp_path: Path, optimizer: str
) -> None:
    recipe = tiny("train.steps=50", "train.accumulate=2", f"train.optimizer={optimizer}")  # with dropout
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = train(Trainer(recipe, tokens, tmp_path / "whole", CPU))
    said: list[Event] = []
    for stop in (7, 20, 33, None):
        trainer = Trainer(recipe, tokens, tmp_path / "broken", CPU)
        said += train(trainer, lambda metric, stop=stop: (Stop(),) if metric.step == stop else None)  # type: ignore[misc]
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "broken"))

    def losses(events: list[Event]) -> list[tuple[int, float, float]]:
        return [(e.step, e.loss, e.grad_norm) for e in of(Metric, events) if isinstance(e, Metric)]

    assert losses(whole) == losses(said)
    assert [e.step for e in of(Resumed, said) if isinstance(e, Resumed)] == [7, 20, 33]


def test_training_says_what_it_does_and_learns(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    said = train(
        Trainer(tiny("train.steps=60", "train.lr=0.02"), tokens, tmp_path, CPU),
        lambda metric: (Checkpoint(), Draw(prompt="the", seed=3)) if metric.step == 5 else None,
    )
    shape = next(of(Shape, said))
    assert isinstance(shape, Shape)
    assert shape.vocabulary == 300
    evaluations = [e for e in of(Evaluation, said) if isinstance(e, Evaluation)]
    assert evaluations[0].step == 0
    assert evaluations[0].loss == pytest.approx(math.log(300), abs=0.1)
    assert evaluations[-1].final
    assert evaluations[-1].loss < 4
    assert evaluations[-1].bits_per_byte < evaluations[-1].loss / math.log(2)  # a token is more than a byte
    assert [e.step for e in of(Saved, said) if isinstance(e, Saved)] == [5, 20, 40, 60]
    samples = [e for e in of(Sample, said) if isinstance(e, Sample)]
    assert (samples[0].step, samples[0].prompt, samples[0].seed) == (5, "the", 3)


def test_the_newest_checkpoints_and_the_best_are_kept(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    recipe = tiny("train.steps=60", "train.lr=0.02", "train.checkpoint_every=5", "train.keep=2")
    train(Trainer(recipe, tokens, tmp_path, CPU))
    kept = [Artifact.open(path, verify=True) for path in sorted(tmp_path.glob("step-*"))]
    steps = [int(checkpoint.facts["step"]) for checkpoint in kept]
    assert steps[-2:] == [55, 60]
    assert len(steps) <= 3


@pytest.mark.parametrize("harm", ["truncate", "flip", "delete"])
def test_a_damaged_checkpoint_is_passed_over_and_named(tiny: Make, tokens: Artifact, tmp_path: Path, harm: str) -> None:
    recipe = tiny("train.steps=40")
    train(Trainer(recipe, tokens, tmp_path, CPU), lambda metric: (Stop(),) if metric.step == 30 else None)
    for name in ("model.safetensors", "train.safetensors", "state.json", "vocabulary.json", "manifest.json"):
        copy = tmp_path.with_name(f"{harm}-{name}")
        copy.mkdir()
        for step in tmp_path.glob("step-*"):
            shutil.copytree(step, copy / step.name)
        victim = copy / "step-00000030" / name
        data = bytearray(victim.read_bytes())
        if harm == "truncate":
            os.truncate(victim, len(data) // 2)
        elif harm == "flip":
            data[len(data) // 2] ^= 1
            victim.write_bytes(bytes(data))
        else:
            victim.unlink()
        found, damaged = checkpoints.newest(copy)
        assert found is not None
        assert found.path.name == "step-00000020"
        assert len(damaged) == 1
        assert ("manifest" if name == "manifest.json" and harm != "flip" else "step-00000030") in damaged[0]
    trainer = Trainer(recipe, tokens, copy, CPU)
    said = train(trainer)
    notes = [event.text for event in of(Note, said) if isinstance(event, Note)]
    assert any("step-00000030" in note for note in notes)
    assert next(event for event in of(Resumed, said) if isinstance(event, Resumed)).step == 20
    assert trainer.state.finished


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    trainer = Trainer(tiny("train.steps=40"), tokens, tmp_path, CPU)

    def poison(metric: Metric) -> None:
        if metric.step == 25:
            with torch.no_grad():
                trainer.model.h[0].mlp.c_fc.weight[0, 0] = torch.nan  # type: ignore[index, union-attr]

    with pytest.raises(NotFinite) as caught:
        train(trainer, poison)
    assert "step 26" in caught.value.what
    assert "step 20" in caught.value.kept
    assert checkpoints.newest(tmp_path)[0] is not None
    assert all(p.isfinite().all() for n, p in trainer.model.named_parameters() if n != "h.0.mlp.c_fc.weight")


@pytest.mark.skipif(psutil.virtual_memory().total > 100e9, reason="it would fit")
def test_a_model_that_does_not_fit_the_memory_is_said_to(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory) as caught:  # 120 GB of queries, keys and values
        Trainer(tiny("model.n_embd=100000", "model.positions=learned"), tokens, tmp_path, CPU)
    assert "memory is too small" in caught.value.what
    assert "smaller model" in caught.value.todo


def test_a_pause_is_no_time_of_training(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    import time

    trainer = Trainer(tiny("train.steps=5"), tokens, tmp_path, CPU)

    def pause(metric: Metric) -> None:
        if metric.step == 2:
            time.sleep(0.7)

    began = time.monotonic()
    train(trainer, pause)
    assert trainer.state.seconds < time.monotonic() - began - 0.65


def test_a_full_disk_skips_a_checkpoint_with_a_warning_but_never_the_last_one(
    tiny: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("train.steps=60")
    said: list[Event] = []

    def fill(metric: Metric) -> None:
        if metric.step == 30:
            monkeypatch.setattr(checkpoints, "free_bytes", lambda _: 0)

    with pytest.raises(DiskTrouble) as caught:
        train(Trainer(recipe, tokens, tmp_path, CPU), fill, said)
    assert [event.step for event in of(Saved, said) if isinstance(event, Saved)] == [20]
    notes = [event for event in of(Note, said) if isinstance(event, Note)]
    assert "step 40" in notes[0].text
    assert notes[0].level == "warning"
    assert "step 20 is kept" in caught.value.kept
    monkeypatch.undo()
    finished = Trainer(recipe, tokens, tmp_path, CPU)
    train(finished)
    assert finished.state.finished
