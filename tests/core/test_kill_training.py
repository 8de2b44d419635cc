"""A training killed at random moments: the next attempt resumes, and the result is bit-identical."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch

from core.events import CheckpointSaved, Evaluation, Metric, Note, Resumed
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.runs.launch import child_environment, python_command
from core.runs.recipe_change import change_recipe
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from tests.core.training import newest_tensors, tensors_equal
from tests.waiting import wait_for

pytestmark = pytest.mark.heavy

STEPS, EVERY = 120, 20
KILLS = 3

Make = Callable[..., Recipe]


@pytest.fixture
def rng() -> random.Random:
    return random.Random(os.environ.get("LLMTUI_TEST_SEED", "1"))


def start_worker(run: Run, workspace: Workspace, attempt: int) -> subprocess.Popen[bytes]:
    with run.log.open("ab") as log:
        command = python_command("core.worker", str(run.path), str(attempt))
        return subprocess.Popen(command, cwd=run.path, env=child_environment(workspace), stdout=log, stderr=log)


def run_worker(run: Run, workspace: Workspace, attempt: int) -> None:
    assert start_worker(run, workspace, attempt).wait() == 0, run.log.read_text()[-2000:]


def kill_at(run: Run, workspace: Workspace, attempt: int, step: int, after: float) -> None:
    """Send SIGKILL to a worker `after` seconds after it has journalled `step`."""
    process = start_worker(run, workspace, attempt)
    try:
        reach(run, attempt, step)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL, "it finished before it could be killed"


def reach(run: Run, attempt: int, step: int) -> None:
    reader, seen = JournalReader(run.journal), [0]

    def reached() -> bool:
        for event in reader.events():
            seen[0] += getattr(event, "attempt", 0) == attempt
            if seen[0] and isinstance(event, Metric) and event.step >= step:
                return True
        return False

    wait_for(reached, what=f"step {step} of attempt {attempt}")


def reported_metrics(run: Run) -> dict[tuple[str, int], tuple[float | None, ...]]:
    """Losses, learning rates, norms and evaluations by step, each of the newest attempt at that step."""
    metrics: dict[tuple[str, int], tuple[float | None, ...]] = {}
    for event in JournalReader(run.journal).events():
        match event:
            case Resumed(step=step):
                metrics = {key: value for key, value in metrics.items() if key[1] <= step}
            case Metric():
                metrics["step", event.step] = event.loss, event.lr, event.grad_norm, event.tokens
            case Evaluation():
                kind = "final" if event.final else "evaluation"
                metrics[kind, event.step] = event.loss, event.train_loss, event.bits_per_byte, event.best
    return metrics


def combinations() -> Iterator[object]:
    first = True
    for objective in ("causal", "masked"):
        for optimizer in ("muon", "adamw"):
            for micro_batch in (3, 4):  # of 4 sequences a step: in two pieces of unlike size, and in one
                yield pytest.param(objective, optimizer, micro_batch, marks=[] if first else pytest.mark.slow)
                first = False


@pytest.mark.parametrize(("objective", "optimizer", "micro_batch"), combinations())
def test_a_training_killed_three_times_ends_bit_identical_to_an_uninterrupted_one(
    workspace: Workspace,
    tiny: Make,
    rng: random.Random,
    objective: str,
    optimizer: str,
    micro_batch: int,
) -> None:
    recipe = tiny(  # with dropout
        f"model.objective={objective}",
        f"train.optimizer={optimizer}",
        f"train.micro_batch={micro_batch}",
        f"train.steps={STEPS}",
        f"train.checkpoint_every={EVERY}",
    )
    assert recipe.model.dropout > 0
    uninterrupted, killed = Run.create(workspace, recipe), Run.create(workspace, recipe)
    run_worker(uninterrupted, workspace, 1)
    moments = [(step, rng.uniform(0, 0.03)) for step in sorted(rng.sample(range(EVERY, STEPS - 50), KILLS))]
    for attempt, (step, after) in enumerate(moments, 1):
        kill_at(killed, workspace, attempt, step, after)
    run_worker(killed, workspace, KILLS + 1)
    context = (
        f"killed at (step, seconds after it) {moments}, LLMTUI_TEST_SEED={os.environ.get('LLMTUI_TEST_SEED', '1')}"
    )
    resumed = [event.step for event in JournalReader(killed.journal).events() if isinstance(event, Resumed)]
    assert resumed and all(step % EVERY == 0 for step in resumed), context
    expected = reported_metrics(uninterrupted)
    assert [step for kind, step in expected if kind == "step"] == list(range(1, STEPS + 1))
    assert reported_metrics(killed) == expected, context
    left, right = newest_tensors(uninterrupted.checkpoints), newest_tensors(killed.checkpoints)
    assert tensors_equal(left, right), context
    assert any(name.startswith("optim.") for name in left) and "rng.torch.0" in left
    assert all(torch.isfinite(tensor).all() for tensor in left.values() if tensor.is_floating_point())
    leftovers = [path.name for path in killed.checkpoints.iterdir() if not path.name.startswith("step-")]
    assert not leftovers, context


def test_a_worker_killed_while_it_writes_a_checkpoint_resumes_from_the_one_before(
    workspace: Workspace, tiny: Make
) -> None:
    every = 50
    run = Run.create(workspace, tiny("train.steps=1000000", f"train.checkpoint_every={every}"))
    process = start_worker(run, workspace, 1)
    try:
        wait_for(lambda: (run.checkpoints / f"step-{every:08d}").exists())
        staged = stop_during_save(run, process)
        whole = max(run.checkpoints.glob("step-????????"))
        kept = int(whole.name.removeprefix("step-"))
    finally:
        process.kill()
        process.wait()
    assert max(run.checkpoints.glob("step-????????")) == whole
    change_recipe(run, [f"train.steps={kept + every}"])
    run_worker(run, workspace, 2)
    events = list(JournalReader(run.journal).events())
    assert [event.step for event in events if isinstance(event, Resumed)] == [kept]
    assert not [event for event in events if isinstance(event, Note) and event.level != "info"]
    assert not staged.exists()
    assert [event.step for event in events if isinstance(event, CheckpointSaved)][-1] == kept + every


def stop_during_save(run: Run, process: subprocess.Popen[bytes]) -> Path:
    """Stop `process` while it writes a checkpoint. Returns the directory that it writes to."""
    training, temporary = psutil.Process(process.pid), list[Path]()

    def writing() -> bool:
        temporary[:] = run.checkpoints.glob("*.tmp")
        if not temporary:
            return False
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: training.status() == psutil.STATUS_STOPPED, work=lambda: None)
        if temporary[0].exists():
            return True
        process.send_signal(signal.SIGCONT)  # it had finished already
        return False

    wait_for(writing, what="a checkpoint being written", work=lambda: None)
    return temporary[0]
