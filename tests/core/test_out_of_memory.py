"""Memory that runs out during training or evaluation: smaller micro-batches, and the error when one is too many."""

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

from core.events import Evaluation, Metric, Note
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.train.out_of_memory import TrainingMemoryError, halve_on_out_of_memory
from core.train.trainer import Trainer
from tests.core.stages import ROOT, note_texts
from tests.core.training import CPU, of_type, train

pytestmark = pytest.mark.heavy

Make = Callable[..., Recipe]

WIDE = ("model.n_embd=128", "model.block_size=128", "model.dropout=0", "train.batch_size=64")
TRIM_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""Makes glibc return freed memory to the system at once, so that little is left to reuse."""


def test_a_training_whose_memory_shrinks_continues_with_smaller_micro_batches_to_the_same_losses(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    recipe = tiny(*WIDE, "train.steps=2", "train.evaluate_tokens=5000")
    for name in ("roomy", "tight"):
        (tmp_path / name).mkdir()
    roomy = Trainer(recipe, tokens, tmp_path / "roomy", CPU)
    losses = [event.loss for event in train(roomy) if isinstance(event, Metric | Evaluation)]
    assert roomy.state.micro_batch == 64
    code = (
        "import sys; from tests.core.test_out_of_memory import train_with_limited_memory as train; train(*sys.argv[1:])"
    )
    arguments = [msgspec.json.encode(recipe).decode(), str(tokens.path), str(tmp_path / "tight")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | TRIM_FREED_MEMORY | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    tight = json.loads(done.stdout)
    assert 1 <= tight["micro_batch"] < 64
    assert any("memory ran out: step 2 continues with" in note for note in tight["notes"])
    assert tight["losses"] == pytest.approx(losses, abs=1e-5)
    resumed = Trainer(recipe, tokens, tmp_path / "tight", CPU)
    train(resumed)
    assert resumed.state.micro_batch == tight["micro_batch"]


def train_with_limited_memory(recipe: str, tokens: str, directory: str) -> None:
    """Runs in a process of its own: after the first step only 80 MiB more of address space can be allocated."""
    trainer = Trainer(msgspec.json.decode(recipe, type=Recipe), Artifact.open(Path(tokens)), Path(directory), CPU)

    def limit_memory(metric: Metric) -> None:
        if metric.step == 1:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 80 * 2**20, resource.RLIM_INFINITY))

    events = train(trainer, limit_memory)
    losses = [event.loss for event in events if isinstance(event, Metric | Evaluation)]
    print(json.dumps({"micro_batch": trainer.state.micro_batch, "losses": losses, "notes": note_texts(events)}))


def test_memory_too_small_for_one_sequence_is_a_training_memory_error(
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


def test_an_evaluation_that_runs_out_of_memory_continues_with_smaller_batches(
    tiny: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tiny("train.steps=2"), tokens, tmp_path, CPU)
    real = trainer.model.loss

    def short(ids: torch.Tensor, *rest: object, **more: object) -> object:
        if not trainer.model.training and len(ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(ids, *rest, **more)  # type: ignore[arg-type]

    # only after the first step: the memory probe before it would find it
    def shrink(metric: Metric) -> None:
        monkeypatch.setattr(trainer.model, "loss", short)

    events = train(trainer, shrink)
    assert [event.text for event in of_type(Note, events) if event.level == "warning"] == [
        "memory ran out: evaluation continues with one sequence at a time, to the same result"
    ]
    assert trainer.state.micro_batch == 4
    assert len(list(of_type(Evaluation, events))) == 3


def test_out_of_memory_at_size_one_and_other_errors_are_raised() -> None:
    def fail(error: Exception) -> None:
        raise error

    memory_errors = (torch.OutOfMemoryError("CUDA"), MemoryError(), RuntimeError("x: can't allocate memory: y"))
    for error in (*memory_errors, RuntimeError("shapes differ")):
        with pytest.raises(type(error)) as caught:
            halve_on_out_of_memory(lambda _, error=error: fail(error), 8 if error not in memory_errors else 1)
        assert caught.value is error
