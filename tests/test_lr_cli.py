"""`llmtui lr`: the learning rate of a run that trains."""

from __future__ import annotations

import pytest

from core.runs.control import ControlRequests
from core.storage.workspace import Workspace
from core.train.commands import ChangeLearningRate
from core.train.lr_changes import LrChange, write_lr_changes
from llmtui.cli.main import run as command_line
from tests.cli_runs import DONE, TRAINED, made
from tests.ui.fake_runs import hold_locks


def test_a_running_run_is_asked_for_a_multiple_of_its_present_rate(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, TRAINED)
    run.checkpoints.mkdir(exist_ok=True)
    write_lr_changes(run.checkpoints, (LrChange(step=2, factor=0.5),))
    with hold_locks(run):
        assert command_line(["lr", run.id, "x0.5"]) == 0
        assert "peak learning rate 0.004 → 0.002 after its current step" in capsys.readouterr().err
        assert command_line(["lr", run.id, "quick"]) == 2
        assert "'quick' is not a number" in capsys.readouterr().err
    assert ControlRequests(run).take_learning_rate() == ChangeLearningRate(0.25)


def test_a_run_that_does_not_train_is_told_how_to_resume_at_that_rate(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    assert command_line(["lr", run.id, "1e-3"]) == 2
    assert f"llmtui resume {run.id} --set train.lr=1e-3" in capsys.readouterr().err
