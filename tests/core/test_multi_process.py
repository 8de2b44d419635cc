"""A run that several processes train together: started by torchrun or by `--processes`, ended, killed, resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch

from core.checkpoints import readable_checkpoints
from core.events import AttemptEnded, AttemptStarted, Evaluation, Metric, Resumed
from core.recipe.schema import Recipe
from core.runs.control import request_pause, request_unpause
from core.runs.directory import Run, RunState
from core.runs.launch import child_environment, kill, python_command, wait_until_ended
from core.runs.launches import Exited
from core.storage.artifact import Artifact
from core.storage.journal import JournalReader
from core.storage.locks import Lock
from core.storage.workspace import Workspace
from core.train.distributed import DistributedDeviceError, ProcessGroup
from llmtui.cli.main import run as command_line
from tests.conftest import TINY
from tests.core.training import newest_tensors, of_type
from tests.leftovers import command_line as words_of
from tests.waiting import PATIENCE, wait_for

Make = Callable[..., Recipe]
Start = Callable[[Run, int], subprocess.Popen[bytes]]

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


@pytest.fixture
def start_two(workspace: Workspace) -> Iterator[Start]:
    """Start two workers of a run by torchrun; those still running at the end are killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(run: Run, attempt: int) -> subprocess.Popen[bytes]:
        with run.log.open("ab") as log:
            command = python_command(*TORCHRUN, "core.worker", str(run.path), str(attempt))
            env = child_environment(workspace) | {"OMP_NUM_THREADS": "1"}
            started.append(subprocess.Popen(command, cwd=run.path, env=env, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            for running in (*psutil.Process(process.pid).children(recursive=True), process):
                running.kill()
        process.wait()


def run_single(run: Run, workspace: Workspace, attempt: int) -> int:
    with run.log.open("ab") as log:
        command = python_command("core.worker", str(run.path), str(attempt))
        return subprocess.run(
            command, cwd=run.path, env=child_environment(workspace), stdout=log, stderr=log
        ).returncode


def reach(run: Run, step: int, attempt: int = 1) -> None:
    """Return once `attempt` at the run has journalled `step`."""

    def reached() -> bool:
        started = False
        for event in JournalReader(run.journal).events():
            started = started or (isinstance(event, AttemptStarted) and event.attempt == attempt)
            if started and isinstance(event, Metric) and event.step >= step:
                return True
        return False

    wait_for(reached, what=f"step {step} of attempt {attempt}")


def workers(parent: int) -> list[psutil.Process]:
    """The worker processes among the descendants of the process `parent`."""
    commands = {child: words_of(child) for child in psutil.Process(parent).children(recursive=True)}
    return [
        child for child, words in commands.items() if "core.worker" in words and "torch.distributed.run" not in words
    ]


def losses(run: Run) -> tuple[list[float], list[float]]:
    events = list(JournalReader(run.journal).events())
    return [event.loss for event in of_type(Metric, events)], [event.loss for event in of_type(Evaluation, events)]


@pytest.mark.slow
def test_two_processes_match_one_with_twice_the_accumulation_and_only_rank_0_writes(
    tiny: Make, workspace: Workspace, start_two: Start
) -> None:
    recipe = tiny(
        *("model.dropout=0", "train.optimizer=adamw", "train.lr=1e-3", "train.precision=float32"),
        *("train.steps=12", "train.evaluate_every=5", "train.micro_batch=2"),
    )
    two, one = Run.create(workspace, recipe), Run.create(workspace, recipe)
    assert start_two(two, 1).wait() == 0, two.log.read_text()
    assert run_single(one, workspace, 1) == 0
    assert two.state() is RunState.DONE
    for actual, expected in zip(losses(two), losses(one), strict=True):
        assert actual == pytest.approx(expected, abs=1e-5)
    assert len(losses(two)[0]) == 12
    (started,) = of_type(AttemptStarted, list(JournalReader(two.journal).events()))
    assert started.device.startswith("2 processes, ")
    assert {"rng.torch.0", "rng.torch.1"} <= newest_tensors(two.checkpoints).keys()
    assert sorted(path.name for path in two.path.iterdir()) == sorted(path.name for path in one.path.iterdir())
    assert Artifact.open(two.path / "samples", verify=True).facts == {"samples": 1}


@pytest.mark.parametrize(
    "victims", [("first",), pytest.param(("second", "torchrun", "first"), marks=pytest.mark.slow)], ids=",".join
)
def test_when_one_process_is_killed_all_exit_and_the_run_resumes_with_two_or_with_one(
    tiny: Make, workspace: Workspace, start_two: Start, victims: tuple[str, ...]
) -> None:
    run = Run.create(workspace, tiny("train.steps=100000", "train.checkpoint_every=20"))
    for attempt, victim in enumerate(victims, 1):
        torchrun = start_two(run, attempt)
        reach(run, 25 * attempt, attempt)
        first, both = run.writer(), workers(torchrun.pid)
        assert first is not None and len(both) == 2
        (second,) = (worker.pid for worker in both if worker.pid != first)
        os.kill({"first": first, "second": second, "torchrun": torchrun.pid}[victim], signal.SIGKILL)
        gone, alive = psutil.wait_procs(both, PATIENCE)
        assert len(gone) == 2 and not alive, run.log.read_text()
        assert torchrun.wait() != 0
        assert run.end_event() is None
    events = list(JournalReader(run.journal).events())
    assert len(list(of_type(Resumed, events))) == len(victims) - 1
    assert "exitcode  : -9" in run.log.read_text()  # torchrun reports the signal
    last = readable_checkpoints(run.checkpoints)[-1].facts["step"]
    assert isinstance(last, int)
    assert command_line(["resume", run.id, "--set", f"train.steps={last + 3}"]) == 0
    resumed = list(of_type(Resumed, list(JournalReader(run.journal).events())))[-1]
    assert (resumed.step, run.summary().metric.step) == (last, last + 3)  # type: ignore[union-attr]


@pytest.mark.slow
def test_an_error_in_a_data_stage_ends_all_processes(
    tiny: Make, corpus: Path, workspace: Workspace, start_two: Start
) -> None:
    run = Run.create(workspace, tiny("train.steps=5"))
    for file in corpus.iterdir():
        file.unlink()
    torchrun = start_two(run, 1)
    wait_for(lambda: len(workers(torchrun.pid)) == 2)
    both = workers(torchrun.pid)
    assert torchrun.wait() != 0
    assert not psutil.wait_procs(both, PATIENCE)[1]
    assert run.state() is RunState.FAILED
    (ended,) = of_type(AttemptEnded, list(JournalReader(run.journal).events()))
    assert ended.what == "cannot read the source: the folder is empty"


@pytest.mark.slow
def test_a_run_with_another_writer_is_refused_by_all_processes(
    tiny: Make, workspace: Workspace, start_two: Start
) -> None:
    run = Run.create(workspace, tiny("train.steps=5"))
    lock = Lock.acquire(run.path / "writer.lock")
    assert lock is not None
    with lock:
        assert start_two(run, 1).wait() != 0
    assert not run.journal.exists()
    assert "exitcode  : 75" in run.log.read_text()


@pytest.mark.slow
def test_a_run_keeps_its_number_of_processes_idles_while_paused_and_resumes_with_another_number(
    corpus: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [part for setting in (*TINY, "train.steps=100000") for part in ("--set", setting)]
    arguments = ["run", str(corpus), "--name", "pair", *settings, "--processes", "2", "--detach"]
    assert command_line(arguments) == 0
    run = Run.open(workspace.runs / capsys.readouterr().out.strip())
    try:
        reach(run, 10)
        supervisor = run.supervisor()
        assert supervisor is not None
        (second,) = (worker for worker in workers(supervisor) if worker.pid != run.writer())
        request_pause(run)
        wait_for(lambda: run.summary().paused)
        cpu_seconds = sum(second.cpu_times()[:2])
        time.sleep(1)
        assert sum(second.cpu_times()[:2]) - cpu_seconds < 0.1
        request_unpause(run)
        second.kill()
        reach(run, 1, attempt=2)  # the supervisor restarts both
        assert command_line(["resume", run.id, "--processes", "3"]) == 75
        assert command_line(["stop", run.id]) == 0
        assert run.state() is RunState.STOPPED
        events = list(JournalReader(run.journal).events())
        assert [event.device[:13] for event in of_type(AttemptStarted, events)] == ["2 processes, "] * 2
        assert any(isinstance(record, Exited) and record.code for record in run.launches())
        step = events[-2].step if isinstance(events[-2], Metric) else run.summary().metric.step  # type: ignore[union-attr]
        capsys.readouterr()
        assert command_line(["resume", run.id, "--processes", "1", "--set", f"train.steps={step + 2}"]) == 0
        assert "processes 2 → 1" in capsys.readouterr().err
        assert "processes" not in list(of_type(AttemptStarted, list(JournalReader(run.journal).events())))[-1].device
    finally:
        if (pid := run.supervisor()) is not None:
            os.kill(pid, signal.SIGKILL)
        kill(run, sig=signal.SIGKILL)
        wait_until_ended(run, PATIENCE)


def test_more_processes_than_gpus_are_refused_on_every_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for rank in ("0", "1"):
        for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank}.items():
            monkeypatch.setenv(name, value)
        with (
            pytest.raises(DistributedDeviceError, match="2 processes want a GPU each, and there is 1"),
            ProcessGroup.join("cuda"),
        ):
            pass


def test_child_processes_do_not_inherit_the_variables_of_a_torchrun_job(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler sets them for its own job; a worker that read them would wait for seven others."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.setenv(name, "8")
    assert child_environment(workspace).keys().isdisjoint({"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"})
