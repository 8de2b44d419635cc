"""Runs on two hosts by ssh and in a job of Slurm, both on loopback: `make cluster`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from core.events import AttemptStarted, Metric, Resumed
from core.recipe.schema import Recipe
from core.runs.control import request_stop
from core.runs.directory import Run, RunState
from core.runs.launch import start, wait_until_ended
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.core.training import of_type
from tests.waiting import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

Make = Callable[..., Recipe]
CLUSTER = Path(os.environ.get("LLMTUI_CLUSTER", "/tmp/llmtui-cluster"))
HOURS = 600.0


@pytest.fixture
def workspace(home: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A data directory with a space in its path, and a target `ssh` that knows the hosts of setup.sh."""
    if not (CLUSTER / "ssh_config").exists():
        pytest.skip("tests/cluster/setup.sh has not been run")
    monkeypatch.setenv("SLURM_CONF", str(CLUSTER / "slurm.conf"))
    monkeypatch.setenv("LLMTUI_HOME", str(home / "a home"))
    made = Workspace(home / "a home").prepare()
    (made.config / "targets").mkdir()
    (made.config / "targets" / "ssh.toml").write_text(
        f'extends = "ssh"\nrendezvous = "127.0.0.1"\nenvironment = {{ GLOO_SOCKET_IFNAME = "lo" }}\n'
        f'command = ["ssh", "-F", "{CLUSTER}/ssh_config", "-o", "BatchMode=yes", "{{host}}", "{{torchrun}}"]\n'
    )
    return made


def losses(run: Run) -> list[float]:
    return [event.loss for event in of_type(Metric, list(JournalReader(run.journal).events()))]


def finish(run: Run, workspace: Workspace) -> None:
    start(run, workspace, share=True)
    assert wait_until_ended(run, HOURS)
    assert run.state() is RunState.DONE, run.log.read_text()


def test_two_hosts_and_a_job_of_slurm_have_the_losses_of_one_process(workspace: Workspace, tiny: Make) -> None:
    recipe = tiny("model.dropout=0", "train.steps=8", "train.precision=float32", "train.sharding=full")
    one = Run.create(workspace, recipe)
    ssh = Run.create(workspace, recipe, 2, target="ssh:one,two", nodes=2)
    slurm = Run.create(workspace, recipe, 2, target="slurm:tests")
    for run in (one, ssh, slurm):
        finish(run, workspace)
    assert len(losses(one)) == 8
    assert losses(ssh) == pytest.approx(losses(one), abs=1e-5)
    assert losses(slurm) == pytest.approx(losses(one), abs=1e-5)


def test_a_job_near_its_limit_saves_is_requeued_and_goes_on(workspace: Workspace, tiny: Make) -> None:
    run = Run.create(workspace, tiny("train.steps=1000000", "train.checkpoint_every=1000000"), target="slurm")
    start(run, workspace)
    wait_for(lambda: run.journal.exists() and len(losses(run)) > 5, what="five steps")
    job = subprocess.run(
        ["squeue", "--noheader", "--name", run.id, "--format", "%A"], capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run(["scancel", "--signal=USR1", "--batch", job], check=True)

    def resumed() -> list[Resumed]:
        return list(of_type(Resumed, list(JournalReader(run.journal).events())))

    wait_for(lambda: bool(resumed()), what="the next start of the job")
    assert resumed()[0].step > 5
    request_stop(run)
    assert wait_until_ended(run, HOURS)
    assert run.state() is RunState.STOPPED
    started = list(of_type(AttemptStarted, list(JournalReader(run.journal).events())))
    assert [event.attempt for event in started] == [1, 1]  # one job, started twice


def test_a_job_that_waits_is_cancelled_by_a_stop(workspace: Workspace, tiny: Make) -> None:
    run = Run.create(workspace, tiny("train.steps=5"), 64, target="slurm", nodes=64)
    start(run, workspace)
    request_stop(run)
    assert wait_until_ended(run, HOURS)
    assert not run.journal.exists()


def test_the_checks_name_what_is_wrong(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["targets", "ssh:one,two"]) == 0
    capsys.readouterr()
    assert command_line(["targets", "ssh:one,nobody,stranger"]) == 1
    text = capsys.readouterr().out
    assert "one: " in text and "sees the data directory" in text
    assert "nobody cannot be reached" in text and "ssh-copy-id stranger" in text
    assert command_line(["targets", "slurm:test"]) == 1
    assert "did you mean 'tests'?" in capsys.readouterr().out
