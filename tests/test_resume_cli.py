"""`llmtui resume --set`: a run continues with other settings where that is possible, and is unchanged where not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from core.events import AttemptEnded, AttemptStarted, Metric, encode
from core.recipe.schema import Recipe
from core.runs.directory import Run, RunState
from core.runs.errors import RunActiveError
from core.runs.launches import Launched
from core.runs.recipe_change import change_recipe
from core.runs.summary import Summary
from core.storage.files import write_atomic
from core.storage.journal import JournalReader, JournalWriter
from core.storage.locks import Lock
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.conftest import wait_for_state
from tests.core.stages import remarks

pytestmark = pytest.mark.heavy

Make = Callable[..., Recipe]


def left(workspace: Workspace, recipe: Recipe, outcome: str = "done", step: int = 20) -> Run:
    """A run as its worker would leave it after `step` steps."""
    run = Run.create(workspace, recipe)
    launches, journal, summary = JournalWriter(run.path / "launches.jsonl"), JournalWriter(run.journal), Summary()
    launches.append(encode(Launched(attempt=1)))
    for event in (
        AttemptStarted(attempt=1, pid=1, host="here", device="2 cores"),
        Metric(step=step, loss=3, lr=1e-3, grad_norm=1, tokens=128 * step, seconds=1.0, progress=1.0),
        AttemptEnded(attempt=1, outcome=outcome),  # type: ignore[arg-type]
    ):
        journal.append(encode(event))
        summary.absorb(event)
    write_atomic(run.path / "status.json", encode(summary))
    return run


def reread(run: Run) -> Recipe:
    return Run.open(run.path).recipe


def test_a_run_that_is_done_goes_on_to_a_later_end_at_another_rate(
    launched: Callable[[Recipe], Run], tiny: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    run = launched(tiny("train.steps=20"))
    wait_for_state(run, RunState.DONE, RunState.FAILED)
    assert command_line(["resume", run.id, "--set", "train.steps=40", "--set", "train.lr=0.004"]) == 0
    message = capsys.readouterr().err
    assert f"{run.id}: train.steps 20 → 40" in message
    assert f"{run.id}: train.lr 0.008 → 0.004" in message
    events = list(JournalReader(run.journal).events())
    assert [event.step for event in events if isinstance(event, Metric)] == list(range(1, 41))
    assert remarks(events) == [
        "train.steps 20 → 40 from step 20 on",
        "train.lr 0.008 → 0.004 from step 20 on",
    ]
    assert Run.open(run.path).state() is RunState.DONE
    assert command_line(["resume", run.id]) == 0
    assert "to train longer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.n_embd=64", "model.n_embd 32 → 64 (the weights are of that model)"),
        ("tokenize.size=400", "tokenize.size 300 → 400"),
        ("source.max_documents=3", "source.max_documents not given → 3"),
        ("train.seed=2", "train.seed 1 → 2"),
        ("train.learning_rate=0.1", "unknown field 'train.learning_rate'"),
        ("train.lr=fast", "train.lr = 'fast' is not a number"),
        ("name=other", "name tiny → other"),
    ],
)
def test_what_cannot_change_is_refused_before_anything_is_started(
    workspace: Workspace, tiny: Make, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    run = left(workspace, tiny("train.steps=100"), "stopped")
    before = (run.path / "run.json").read_bytes()
    assert command_line(["resume", "--set", override, "--set", "train.grad_clip=0.5"]) == 2
    assert message in capsys.readouterr().err
    assert (run.path / "run.json").read_bytes() == before
    assert run.state() is RunState.STOPPED


@pytest.mark.parametrize("override", ["train.lr=0.001", "train.steps=15", "train.tokens=2000"])
def test_a_run_that_is_done_and_would_end_at_once_is_told_how_to_go_on(
    workspace: Workspace, tiny: Make, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    run = left(workspace, tiny("train.steps=20"))
    assert command_line(["resume", "--set", override]) == 2
    message = capsys.readouterr().err
    assert "its end after 20 steps" in message
    assert "--set train.steps=40" in message
    assert reread(run) == run.recipe


def test_settings_of_a_living_run_stay(workspace: Workspace, tiny: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = left(workspace, tiny("train.steps=100"), "stopped")
    script = (
        "import pathlib, sys; from core.storage.locks import Lock; "
        "Lock.acquire(pathlib.Path(sys.argv[1])); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(run.path / "writer.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout and owner.stdout.readline()
        assert command_line(["resume", "--set", "train.lr=0.001"]) == 75
        assert "llmtui stop" in capsys.readouterr().err
        with pytest.raises(RunActiveError):
            change_recipe(run, ["train.lr=0.001"])
        owner.kill()
    assert reread(run) == run.recipe


def test_what_may_change_is_in_the_recipe_of_the_next_attempt(workspace: Workspace, tiny: Make) -> None:
    run = left(workspace, tiny("train.steps=100"), "stopped")
    overrides = [
        "train.lr=0.001",
        "train.muon_lr=0.01",
        "train.schedule=wsd",
        "train.minutes=3",
        "train.patience=4",
        "train.weight_decay=0.1",
        "train.evaluate_every=7",
        "train.keep_checkpoints=5",
        'sample.prompts=["Once"]',
    ]
    assert [found.field for found in change_recipe(run, overrides)] == [
        "train.minutes",
        "train.patience",
        "train.lr",
        "train.muon_lr",
        "train.schedule",
        "train.weight_decay",
        "train.evaluate_every",
        "train.keep_checkpoints",
        "sample.prompts",
    ]
    now = reread(run)
    assert (now.train.lr, now.train.minutes, now.sample.prompts) == (0.001, 3, ("Once",))
    assert now.model == run.recipe.model and now.train.steps == 100
    assert Lock.acquire(run.path / "supervisor.lock") is not None  # and nobody holds the run any more


@pytest.mark.slow
def test_a_run_that_is_done_writes_again_with_other_settings_of_its_samples_and_trains_no_further(
    launched: Callable[[Recipe], Run], tiny: Make
) -> None:
    run = launched(tiny("train.steps=20"))
    wait_for_state(run, RunState.DONE, RunState.FAILED)
    assert command_line(["resume", run.id, "--set", 'sample.prompts=["the", "a"]']) == 0
    events = list(JournalReader(run.journal).events())
    assert [event.step for event in events if isinstance(event, Metric)] == list(range(1, 21))
    assert len((run.path / "samples" / "samples.jsonl").read_text().splitlines()) == 2
