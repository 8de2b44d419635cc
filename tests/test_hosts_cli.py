"""`llmtui hosts`, with a program in place of ssh that starts the host's side on this machine, in another home."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from core.checkpoints import checkpoint_paths
from core.events import AttemptEnded
from core.remote.hosts import MirroredHost
from core.runs.directory import Run, RunState
from core.runs.lookup import all_runs
from core.storage.locks import holder
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.ui.fake_runs import FakeWorker, hold_locks, make_checkpoint, make_run, metric, write_launch
from tests.waiting import wait_for

pytestmark = pytest.mark.heavy
THERE = f"{sys.executable} -P -c 'from llmtui.cli.main import main; main()'"


@pytest.fixture
def ssh(tmp_path: Path) -> str:
    """A program that runs the command of ssh in the home of the host, behind a greeting as shells print them."""
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\necho Welcome to $1\nLLMTUI_HOME="{tmp_path}/far" exec sh -c "$2"\n')
    program.chmod(0o755)
    return str(program)


def test_a_run_of_a_host_is_followed_steered_and_fetched_from(
    workspace: Workspace, tmp_path: Path, ssh: str, capsys: pytest.CaptureFixture[str]
) -> None:
    original = make_run(Workspace(tmp_path / "far").prepare(), "bard")
    write_launch(original)
    worker = FakeWorker(original)
    worker.write_events(*(metric(step, 100) for step in range(1, 21)))
    make_checkpoint(original, 20)
    with hold_locks(original):
        assert command_line(["hosts", "add", "me@gpu1.lab", "--ssh", ssh, "--command", THERE]) == 0
        assert "connected" in capsys.readouterr().err
        host = MirroredHost.find(workspace, "gpu1")
        run = Run.open(workspace.runs / original.id)
        wait_for(lambda: run.state() is RunState.RUNNING)

        worker.write_events(metric(21, 100))
        wait_for(lambda: (known := run.summary().metric) and known.step == 21)

        assert command_line(["pause", "bard"]) == 0
        wait_for(lambda: original.pause_requested)
        assert run.state() is RunState.PAUSED
        assert command_line(["resume", "bard"]) == 0
        wait_for(lambda: not original.pause_requested)
        assert command_line(["stop", "--now", "bard"]) == 2
        assert "is on gpu1" in capsys.readouterr().err

        assert command_line(["hosts", "fetch", "bard"]) == 0
        assert [path.name for path in checkpoint_paths(run.checkpoints)] == ["step-00000020"]
        assert command_line(["hosts", "fetch", "bard@7"]) == 1
        assert "it has no checkpoint 7" in capsys.readouterr().err

        for process in psutil.Process(holder(host.lock)).children(recursive=True):
            process.kill()
        wait_for(lambda: host.connection().why)
        worker.write_events(metric(22, 100), AttemptEnded(attempt=1, outcome="done"))
    wait_for(lambda: (known := run.summary().metric) and known.step == 22)
    assert run.state() is RunState.DONE

    assert command_line(["rm", "--yes", "bard"]) == 0
    assert "the run itself is on gpu1" in capsys.readouterr().err
    assert command_line(["hosts", "disconnect", "gpu1"]) == 0
    assert command_line(["hosts", "connect", "gpu1"]) == 0
    assert all_runs(workspace) == [], "a mirror that was deleted does not come back"
    assert command_line(["hosts"]) == 0
    assert "connected since" in capsys.readouterr().out
    assert command_line(["hosts", "rm", "gpu1"]) == 0
    assert original.path.is_dir()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'me@x: Permission denied (publickey).' >&2; exit 255", "Permission denied (publickey)"),
        ("exit 127", "install llmtui there"),
        (
            "printf 'llmtui mirror\\n'; head -c 20 /dev/zero | tr '\\0' '\\377'; cat >/dev/null",
            "does not speak as llmtui does",
        ),
        ("echo hello", "the connection ended"),
    ],
)
def test_a_host_that_cannot_be_mirrored_says_why(
    tmp_path: Path, script: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert command_line(["hosts", "add", "x", "--ssh", str(program)]) == 1
    assert why in capsys.readouterr().err
    assert command_line(["hosts", "rm", "x"]) == 0


def test_names_and_addresses_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["hosts"]) == 0
    assert "there are no hosts" in capsys.readouterr().err
    assert command_line(["hosts", "add", "x", "--name", "../x"]) == 2
    assert command_line(["hosts", "add", "--name", "x", "--", "-oProxyCommand=x"]) == 2
    assert "does not begin with a dash" in capsys.readouterr().err
    assert command_line(["hosts", "show", "x"]) == 2
    assert "there is no host x" in capsys.readouterr().err
