"""The memory formula against torch's allocations, the micro-batch it gives, and the measurement of a training."""

from __future__ import annotations

import mmap
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.activations import Case, cases, compared
from core.events import Event, Metric, Resumed, TrainingForecast
from core.hardware import available_memory, peak_memory, reset_peak_memory
from core.model.count import parameters
from core.model.device import Device
from core.model.gpt import GPT
from core.model.memory import memory
from core.model.memory_fit import MemoryBudget, largest_micro_batch, required_bytes, suggest_changes
from core.pipeline import pipeline
from core.recipe.file import load
from core.recipe.schema import Model, Recipe, Train
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.train import memory_probe, trainer
from core.train.commands import Stop
from core.train.distributed import ProcessGroup
from core.train.memory_probe import choose_micro_batch, make_plan
from core.train.optimizer import optimizers
from core.train.out_of_memory import TrainingMemoryError
from core.train.trainer import Trainer
from core.train.training_estimate import PassTimings, estimate_training

CPU = Device(name="cpu", dtype=torch.float32, description="")
SMALL = Recipe(
    model=Model(n_layer=2, n_head=2, n_embd=32, block_size=16, dropout=0.1), train=Train(batch_size=6, minutes=1)
)


def is_cheap(case: Case) -> bool:
    """Whether the case takes at most two seconds if bfloat16 is emulated, at 1 GFLOP/s."""
    recipe, vocabulary, sequences, _ = case
    return 6 * sequences * recipe.model.block_size * parameters(recipe.model, vocabulary).total < 1e9


@pytest.mark.parametrize(
    "case", list(filter(is_cheap, cases(12, 5)))[:5], ids=lambda case: f"{case[0].model.n_layer} layers"
)
def test_activation_memory_is_within_20_percent_of_torchs(case: tuple[Recipe, int, int, torch.dtype]) -> None:
    # the coefficients are fitted to the kernels of core.model: python -m benchmarks.activations --fit
    assert compared(case) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_weights_gradients_and_optimizer_state_are_exact(optimizer: str) -> None:
    recipe = msgspec.convert(msgspec.to_builtins(SMALL) | {"train": {"optimizer": optimizer}}, Recipe)
    model = GPT(recipe.model, 100)
    made = optimizers(model, recipe.train)
    model.loss(*[torch.zeros(1, 16, dtype=torch.long)] * 2).objective.backward()
    for one in made:
        one.step()
    breakdown = memory(recipe, 100, micro_batch=1, itemsize=4)
    assert breakdown.weights == sum(p.nbytes for p in model.parameters())
    assert breakdown.gradients == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    averages = [v for one in made for values in one.state.values() for v in values.values() if v.dim()]
    assert breakdown.optimizer == sum(value.nbytes for value in averages)


@given(st.integers(1, 100), st.integers(20, 34))
def test_the_largest_micro_batch_fits_and_a_larger_one_does_not(batch: int, power: int) -> None:
    recipe = Recipe(train=Train(batch_size=batch))
    budget = MemoryBudget(bytes=2**power, itemsize=4)
    chosen = largest_micro_batch(recipe, 4096, budget)
    assert chosen <= batch
    if chosen:
        assert budget.fits(recipe, 4096, chosen)
        # one micro-batch less would make each of them too large
        fewer = -(-batch // chosen) - 1
        assert not fewer or not budget.fits(recipe, 4096, -(-batch // fewer))
    else:
        assert not budget.fits(recipe, 4096, 1)


@pytest.mark.heavy
@pytest.mark.parametrize("preset", ["small", "gpt2"])
def test_suggested_changes_fit_and_smaller_changes_do_not(preset: str) -> None:
    recipe = load(preset=preset, overrides=["model.block_size=4096"])
    budget = MemoryBudget(bytes=required_bytes(recipe, 50257, 1, MemoryBudget(bytes=0, itemsize=4)) - 1, itemsize=4)
    changes = list(suggest_changes(recipe, 50257, budget))
    assert [change.partition("=")[0] for change in changes][-1] == "model.n_embd"
    assert len(changes) >= 2
    for change in changes:
        assert largest_micro_batch(load(preset=preset, overrides=["model.block_size=4096", change]), 50257, budget) >= 1


def test_a_recipe_that_does_not_fit_suggests_changes_before_allocation() -> None:
    recipe = load(overrides=["model.n_layer=1000", "model.n_embd=20000", "model.n_head=10"])
    with pytest.raises(TrainingMemoryError) as caught:
        choose_micro_batch(recipe, 4096, CPU)
    assert "GiB are free" in caught.value.what
    change = caught.value.todo.partition("--set ")[2].partition(" with")[0]
    assert change.startswith("model.")


def test_a_given_micro_batch_is_only_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load(overrides=["train.micro_batch=3"])
    assert choose_micro_batch(recipe, 4096, CPU) == 3
    monkeypatch.setattr(
        memory_probe, "available_memory", lambda: required_bytes(recipe, 4096, 2, MemoryBudget(bytes=0, itemsize=4))
    )
    with pytest.raises(TrainingMemoryError) as caught:
        choose_micro_batch(recipe, 4096, CPU)
    assert "--set train.micro_batch=" in caught.value.todo


def forecast(recipe: Recipe, **given: int) -> tuple[TrainingForecast, GPT]:
    torch.manual_seed(3)
    model = GPT(recipe.model, 100)
    made = optimizers(model, recipe.train)
    plan = make_plan(model, made, recipe, CPU, micro_batch=given.get("micro_batch", 6), validation=1000)
    assert not any(one.state for one in made)
    return plan, model


def test_the_measurement_leaves_model_and_optimizer_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_probe, "MIN_PROBE_SECONDS", 60.0)  # also on a busy machine
    torch.manual_seed(3)
    untouched = GPT(SMALL.model, 100)
    expected = torch.rand(3)
    plan, model = forecast(SMALL)
    assert plan.step_seconds is not None and plan.tokens is not None
    assert torch.equal(torch.rand(3), expected)
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    for left, right in zip(model.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(left, right)


def test_out_of_memory_in_the_measurement_halves_the_micro_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = GPT.loss

    def limited(self: GPT, ids: torch.Tensor, *rest: torch.Tensor) -> object:
        if len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(self, ids, *rest)

    monkeypatch.setattr(GPT, "loss", limited)
    assert forecast(SMALL)[0].micro_batch == 2
    smaller = msgspec.structs.replace(SMALL, train=msgspec.structs.replace(SMALL.train, micro_batch=4))
    assert forecast(smaller, micro_batch=4)[0].micro_batch == 2


def test_too_little_memory_for_one_sequence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(self: GPT, *rest: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(GPT, "loss", limited)
    with pytest.raises(TrainingMemoryError) as caught:
        forecast(SMALL)
    assert "smaller model" in caught.value.todo


def test_predicted_peak_memory_is_within_15_percent() -> None:
    code = """
import torch
from core.hardware import peak_memory
from core.model.device import Device, keep_freed_memory
from core.model.gpt import GPT
from core.recipe.schema import Model, Recipe, Train
from core.train.memory_probe import make_plan
from core.train.optimizer import optimizers
keep_freed_memory()
recipe = Recipe(model=Model(n_layer=4), train=Train(batch_size=8, minutes=0.01))
model = GPT(recipe.model, 1000)
made = optimizers(model, recipe.train, torch.float32)
device = Device(name="cpu", dtype=torch.float32, description="")
plan = make_plan(model, made, recipe, device, micro_batch=8, validation=1000)
ids = torch.randint(1000, (8, 256))
for _ in range(3):
    model.loss(ids, ids).objective.backward()
    for one in made:
        one.step()
    model.zero_grad(set_to_none=True)
print(peak_memory() / plan.memory.peak)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(ran.stdout) == pytest.approx(1, abs=0.15)  # the target


def test_a_short_training_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_probe, "MIN_PROBE_SECONDS", 0.0)
    few = msgspec.structs.replace(SMALL, train=Train(batch_size=6, steps=3))
    assert forecast(few)[0].step_seconds is None


TIMING = PassTimings(forward_backward=0.1, update=0.05, forward=0.04, token=0.002)


def test_the_estimate_adds_up_the_parts_of_a_training() -> None:
    recipe = load(
        overrides=[
            *("model.block_size=100", "train.batch_size=8", "train.steps=1000", "sample.tokens=50"),
            *("train.evaluate_every=50", "train.evaluate_tokens=4000", "train.sample_every=100"),
        ]
    )
    estimate = estimate_training(recipe, TIMING, micro_batch=4, validation=10_000)
    assert estimate.step == pytest.approx(2 * 0.1 + 0.05)
    evaluation, sample = 10 * 0.04, 50 * 0.002
    assert estimate.seconds == pytest.approx(1000 * estimate.step + 21 * evaluation + 10 * sample)
    assert estimate.tokens == 1000 * 800


@pytest.mark.heavy
def test_the_first_limit_decides_the_estimate() -> None:
    def estimate(*limits: str) -> tuple[float, int]:
        return estimate_training(load(overrides=limits), TIMING, micro_batch=8, validation=10**6)[1:]

    assert estimate("train.steps=10") == estimate("train.steps=10", "train.minutes=100")
    assert estimate("train.minutes=1")[0] == pytest.approx(60)
    assert estimate() == estimate("train.minutes=5")
    assert estimate("train.tokens=4096")[1] == 4096


def test_peak_memory_is_that_of_touched_pages_and_can_be_reset() -> None:
    reset_peak_memory()
    before = peak_memory()
    with mmap.mmap(-1, 50_000_000) as block:  # not from the heap, which may have free pages
        block.write(b"x" * 50_000_000)
    assert peak_memory() - before > 40_000_000
    assert available_memory() > 0


@pytest.fixture
def tokens(workspace: Workspace, tiny: Callable[..., Recipe], tmp_path: Path) -> Artifact:
    """The token shards of the small corpus."""
    (tmp_path / "prepared" / "checkpoints").mkdir(parents=True)
    for _ in pipeline(tiny("train.steps=1"), workspace, tmp_path / "prepared", CPU):
        pass
    return Artifact.open(next((workspace.artifacts / "tokens").glob("corpus-*[0-9a-f]")))


def test_a_model_too_large_for_one_of_several_ranks_is_an_error(
    tokens: Artifact, tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TwoRanks(ProcessGroup):
        def all_gather(self, *numbers: float) -> list[tuple[float, ...]]:
            return [numbers, numbers]

        def broadcast_text(self, text: str = "") -> str:
            return text

    def full(*_: object, **__: object) -> GPT:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer, "GPT", full)
    with pytest.raises(TrainingMemoryError):
        Trainer(tiny("train.sharding=none"), tokens, tmp_path, CPU, TwoRanks(0, 2))


@pytest.mark.heavy
def test_a_training_plans_once_and_a_resumed_one_keeps_the_micro_batch(
    tiny: Callable[..., Recipe], tokens: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "c").mkdir()
    recipe = tiny("train.steps=6")
    events: list[Event] = []
    stage = Trainer(recipe, tokens, tmp_path / "c", CPU).run()
    event = next(stage)
    try:
        while True:
            events.append(event)
            event = stage.send((Stop(),) if isinstance(event, Metric) and event.step == 3 else None)
    except StopIteration:
        pass
    plans = [event for event in events if isinstance(event, TrainingForecast)]
    assert [one.micro_batch for one in plans] == [4]
    again = Trainer(recipe, tokens, tmp_path / "c", CPU)
    rest = list(again.run())
    assert any(isinstance(event, Resumed) for event in rest)
    assert not any(isinstance(event, TrainingForecast) for event in rest)
    assert again.state.micro_batch == 4
