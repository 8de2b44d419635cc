"""`llmtui stop`, `pause`, `resume` and `rm`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from core.recipe.schema import Recipe
from core.runs.directory import Run, RunState
from core.runs.lookup import all_runs
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.cli_runs import DONE, TRAINED, made, spawn

pytestmark = pytest.mark.usefixtures("in_temporary_directory")


def test_stop_waits_until_the_run_has_ended(alive: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = alive()
    assert run.state() is RunState.RUNNING
    assert command_line(["stop"]) == 0
    assert run.state() is RunState.STOPPED
    assert "stopped" in capsys.readouterr().err


def test_stop_now_ends_a_worker_that_ignores_requests_and_sigterm(
    alive: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmtui.cli.commands.control.KILL_TIMEOUT", 1.0)
    run = alive(TRAINED[:-5], "--stubborn")
    assert command_line(["stop", "--now"]) == 0
    assert run.writer() is None
    assert (run.control / "stop").exists(), "its supervisor would have started it again"


def test_stop_that_is_not_obeyed_in_time_is_busy(
    alive: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("llmtui.cli.commands.control.STOP_TIMEOUT", 0.2)
    alive(TRAINED[:-5], "--stubborn")
    assert command_line(["stop"]) == 75
    assert "llmtui stop --now" in capsys.readouterr().err


def test_pause_and_resume_a_living_run(alive: Callable[..., Run]) -> None:
    run = alive()
    assert command_line(["pause"]) == 0
    assert run.state() is RunState.PAUSED
    assert command_line(["resume"]) == 0
    assert run.state() is RunState.RUNNING


def test_a_second_start_of_a_running_run_is_busy(alive: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = alive()
    assert command_line(["resume"]) == 75
    assert f"{run.id} is running already" in capsys.readouterr().err
    assert run.state() is RunState.RUNNING


def test_resume_of_a_finished_run_says_so(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    made(workspace, DONE)
    assert command_line(["resume"]) == 0
    assert "is done" in capsys.readouterr().err


def test_pause_of_a_run_that_is_not_running_is_a_usage_error(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, DONE)
    assert command_line(["pause"]) == 2
    assert "is not running (done)" in capsys.readouterr().err


def test_rm_of_a_run_that_is_a_link_deletes_nothing_and_says_where_it_lies(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.create(workspace, Recipe(name="moved"))
    run.path.rename(tmp_path / "elsewhere")
    run.path.symlink_to(tmp_path / "elsewhere")
    assert command_line(["rm", "--yes", "moved"]) == 1
    message = capsys.readouterr().err
    assert "link to" in message and "nothing was deleted" in message and str(tmp_path / "elsewhere") in message
    assert run.path.is_symlink() and (tmp_path / "elsewhere" / "run.json").exists()


def test_rm_needs_consent_and_never_removes_a_running_run(
    workspace: Workspace, alive: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    done, running = made(workspace, DONE, name="old"), alive()
    assert command_line(["rm", "old"]) == 2
    assert done.path.exists()
    assert command_line(["rm", "old", "--yes"]) == 0
    assert not done.path.exists()
    assert command_line(["rm", running.id, "--yes"]) == 75
    assert running.path.exists()


def test_ctrl_c_while_watching_leaves_the_run_alone(alive: Callable[..., Run]) -> None:
    run = alive()
    process = spawn("watch", run.id, "--plain")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in error
    assert run.state() is RunState.RUNNING


def test_ctrl_c_while_a_new_run_is_followed_leaves_it_running(workspace: Workspace, corpus: Path) -> None:
    process = spawn("run", str(corpus), "--name", "left-alone", "--set", "train.minutes=9")
    assert process.stderr is not None
    assert "runs in the background" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    [run] = all_runs(workspace)
    try:
        assert process.returncode == 130
        assert f"{run.id} continues; llmtui watch {run.id} shows it, llmtui stop {run.id} stops it" in error
        assert "Traceback" not in error
        assert run.state().is_active
    finally:
        assert command_line(["stop", "--now", run.id]) == 0
    assert not run.state().is_active
