"""Where a run that is resumed trains: `llmtui resume --on`."""

from __future__ import annotations

import pytest

from core.runs.directory import Run
from core.runs.errors import RemoteRunError, RunActiveError
from core.storage.workspace import Workspace
from core.targets.template import TargetError
from llmtui.cli.commands.placement import Placement, PlacementError, placement_changes, resumed_placement
from llmtui.cli.main import run as command_line
from tests.ui.fake_runs import hold_locks, make_run, write_launch


def placed(workspace: Workspace, target: str, nodes: int, processes: int) -> Run:
    """A run that was trained there, and was interrupted."""
    run = make_run(workspace, "bard")
    write_launch(run)
    run.rewrite(run.recipe, processes, target=target, nodes=nodes)
    return Run.open(run.path)


@pytest.fixture
def job(workspace: Workspace) -> None:
    """A target `batch` whose scheduler has a job of every run."""
    (workspace.config / "targets").mkdir(parents=True)
    (workspace.config / "targets" / "batch.toml").write_text(
        'description = "a scheduler"\ncommand = ["true"]\n'
        'running = ["echo", "17"]\ncancel = ["cancel", "--name", "{id}"]\n'
    )


def test_what_is_not_given_stays(workspace: Workspace) -> None:
    run = placed(workspace, "ssh:a,b", 2, 8)
    assert resumed_placement(run, None, None, None, workspace) == Placement.of(run)
    assert resumed_placement(run, "ssh:a,b", None, None, workspace) == Placement.of(run)
    assert resumed_placement(run, None, None, 4, workspace).processes == 4
    with pytest.raises(PlacementError, match="3 processes cannot be divided evenly among 2 nodes"):
        resumed_placement(run, None, None, 3, workspace)


def test_on_another_target_it_has_the_processes_of_a_new_run_there(workspace: Workspace) -> None:
    run = placed(workspace, "ssh:a,b", 2, 8)
    here = resumed_placement(run, "local", None, None, workspace)
    assert here == Placement(target="", nodes=1, processes=1)
    assert placement_changes(Placement.of(run), here) == [
        "on ssh:a,b → this machine",
        "nodes 2 → 1",
        "processes 8 → 1",
    ]
    there = resumed_placement(run, "ssh:c", None, 4, workspace)
    assert there == Placement(target="ssh:c", nodes=1, processes=4)
    local = placed(workspace, "", 1, 2)
    assert resumed_placement(local, "local", None, None, workspace) == Placement.of(local)
    with pytest.raises(TargetError, match="no target 'moon'"):
        resumed_placement(local, "moon", None, None, workspace)


def test_a_run_with_a_job_in_the_queue_of_a_scheduler_stays(
    workspace: Workspace, job: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = placed(workspace, "batch", 1, 1)
    assert command_line(["resume", run.id, "--on", "local", "--set", "train.lr=1e-4"]) == 2
    message = capsys.readouterr().err
    assert "a job of it is still in the queue of batch" in message
    assert f"cancel --name {run.id}" in message
    assert Run.open(run.path).file == run.file, "nothing was changed"


def test_a_run_that_is_active_or_on_another_machine_is_not_moved(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = placed(workspace, "", 1, 1)
    with hold_locks(run):
        assert command_line(["resume", run.id, "--on", "ssh:a"]) == RunActiveError.exit_code
    assert f"llmtui stop {run.id}, then repeat the command" in capsys.readouterr().err
    run.file = type(run.file)(recipe=run.recipe, made_at=0.0, host="gpu1")
    with pytest.raises(RemoteRunError, match="is on gpu1"):
        resumed_placement(run, "ssh:a", None, None, workspace)
