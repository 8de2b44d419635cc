"""`llmtui branch`: a new run continues from a checkpoint of another one, to the bit where nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.checkpoints import checkpoint_paths
from core.events import Metric, Resumed
from core.recipe.schema import Recipe
from core.runs.branch import branch_name
from core.runs.directory import Run, RunState
from core.runs.lookup import find_run
from core.runs.run_file import Parent
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.cli_runs import DONE, checkpoint, made
from tests.conftest import wait_for_state
from tests.core.stages import remarks

Make = Callable[..., Recipe]


def metrics(run: Run) -> dict[int, Metric]:
    events = JournalReader(run.journal).iter_events()
    return {event.step: event for event in events if isinstance(event, Metric)}


@pytest.mark.heavy
def test_an_unchanged_branch_has_the_losses_of_its_parent_and_a_changed_one_says_what_changed(
    launched: Callable[[Recipe], Run], tiny: Make, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = launched(tiny("train.steps=30", "train.checkpoint_every=10", "train.keep_checkpoints=5"))
    wait_for_state(parent, RunState.DONE, RunState.FAILED)
    files = sorted(path.relative_to(parent.path) for path in parent.checkpoints.rglob("*"))

    assert command_line(["branch", parent.id, "--checkpoint", "10"]) == 0
    same = find_run(workspace, "tiny-10")
    assert same.parent == Parent(run=parent.id, step=10)
    before, after = metrics(parent), metrics(same)
    assert list(after) == list(range(11, 31))
    assert [(m.loss, m.lr, m.grad_norm, m.tokens) for m in after.values()] == [
        (before[step].loss, before[step].lr, before[step].grad_norm, before[step].tokens) for step in after
    ]

    arguments = ["--checkpoint", "20", "--set", "train.lr=0.001", "--set", "train.steps=25", "--name", "slower"]
    assert command_line(["branch", parent.id, *arguments]) == 0
    slower = find_run(workspace, "slower")
    assert remarks(list(JournalReader(slower.journal).iter_events())) == [
        "train.steps 30 → 25 from step 20 on",
        "train.lr 0.008 → 0.001 from step 20 on",
    ]
    assert list(metrics(slower)) == list(range(21, 26))
    assert next(e.step for e in JournalReader(slower.journal).iter_events() if isinstance(e, Resumed)) == 20

    assert sorted(path.relative_to(parent.path) for path in parent.checkpoints.rglob("*")) == files
    assert Run.open(parent.path).recipe == parent.recipe
    capsys.readouterr()
    assert command_line(["show", "slower"]) == 0
    assert "of tiny from step 20" in capsys.readouterr().out
    parent.remove()
    assert command_line(["branch", "slower", "--checkpoint", "20"]) == 0  # the files outlive the parent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "model.n_embd=64"], "the weights are of that model"),
        (["--set", "train.seed=7"], "the order of the text depends on it"),
        (["--set", "train.steps=3"], "would end at once: the limit of 3 steps is reached"),
        (["--checkpoint", "9"], "there is no checkpoint of step 9"),
        (["--name", "no/name"], "at most 64 characters"),
    ],
)
def test_a_branch_that_cannot_go_on_is_refused_and_leaves_nothing(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    run = made(workspace, DONE)
    state(checkpoint(run, 3, 2.0))
    assert command_line(["branch", run.id, "--set", "train.steps=10", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in workspace.runs.iterdir()] == [run.id]


def state(path: Path) -> None:
    """Give a checkpoint a training state: `checkpoint` writes none."""
    (path / "state.json").write_text('{"step": 3, "tokens": 12288, "seconds": 3.0}')


def test_the_name_of_a_branch_is_that_of_its_parent_and_the_step(workspace: Workspace) -> None:
    run = made(workspace, DONE, name="x" * 64)
    assert branch_name(run, 400) == "x" * 60 + "-400"
    assert not checkpoint_paths(run.checkpoints)
