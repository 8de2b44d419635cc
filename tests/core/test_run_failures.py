"""Failed runs: their reasons, restarts by the supervisor, lost directories, and leftovers of dead processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from core.checkpoints import readable_checkpoints
from core.events import AttemptEnded, AttemptStarted, HardwareReading, Note, encode
from core.recipe.schema import Recipe
from core.runs import supervisor
from core.runs.directory import Run, RunState
from core.runs.failure import failure, find_reason
from core.runs.launches import Exited, Launched
from core.runs.leftovers import remove_leftovers
from core.storage.journal import JournalReader, JournalWriter
from core.storage.locks import Lock
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.conftest import TINY, wait_for

pytestmark = pytest.mark.heavy

Make = Callable[..., Recipe]
Launch = Callable[[Recipe], Run]

READING = HardwareReading(cpu=0, cores=1, ram=0, ram_total=1, process_ram=0, process_cpu=0, disk_free=0)


def ended_run(
    workspace: Workspace,
    recipe: Recipe,
    *events: AttemptStarted | AttemptEnded | HardwareReading | Note,
    attempts: int = 1,
) -> Run:
    """A run after `attempts` attempts, whose journal holds `events`."""
    run = Run.create(workspace, recipe)
    launches, journal = JournalWriter(run.path / "launches.jsonl"), JournalWriter(run.journal)
    for attempt in range(1, attempts + 1):
        launches.append(encode(Launched(attempt=attempt)))
        launches.append(encode(Exited(attempt=attempt, code=1)))
    for event in events:
        journal.append(encode(event))
    return run


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_fails_the_run_and_every_command_shows_the_reason(
    corpus: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"--set={setting}" for setting in (*TINY, "train.device=cuda")]
    assert command_line(["run", str(corpus), "--name", "gpu", *settings]) == 1
    assert "cannot train: there is no cuda device" in capsys.readouterr().err
    (path,) = workspace.runs.glob("*-gpu-*")
    run = Run.open(path)
    assert run.state() is RunState.FAILED
    assert [type(record) for record in run.launches()] == [Launched, Exited]
    assert isinstance(list(JournalReader(run.journal).events())[-1], AttemptEnded)
    for command in (["ls"], ["ls", "--json"], ["show", run.id]):
        assert command_line(command) == 0
        assert "cannot train: there is no cuda device" in capsys.readouterr().out
    reason_shown = failure(run)
    assert reason_shown is not None
    assert "auto" in reason_shown.todo


def test_the_end_event_counts_even_if_others_follow(workspace: Workspace, tiny: Make) -> None:
    started, ended = (
        AttemptStarted(attempt=1, pid=1, host="", device=""),
        AttemptEnded(attempt=1, outcome="failed", what="cannot: it"),
    )
    run = ended_run(workspace, tiny(), started, ended, READING, Note(text="late"))
    assert run.end_event() == ended
    assert run.state() is RunState.FAILED


def test_the_end_event_of_an_earlier_attempt_does_not_count(workspace: Workspace, tiny: Make) -> None:
    first, ended = AttemptStarted(attempt=1, pid=1, host="", device=""), AttemptEnded(attempt=1, outcome="done")
    assert ended_run(workspace, tiny(), first, ended, attempts=2).end_event() is None
    again = AttemptStarted(attempt=2, pid=1, host="", device="")
    assert ended_run(workspace, tiny(), first, ended, again, READING, attempts=2).end_event() is None


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ([sys.executable, "-c", "import no_such_module"], "No module named 'no_such_module'"),
        (["/no/such/python"], "/no/such/python"),
        ([sys.executable, "-P", "-m", "core.worker", "/no/such/run", "1"], "cannot read the run: it has no run.json"),
    ],
)
def test_a_worker_that_cannot_start_is_not_restarted_and_its_reason_is_shown(
    workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch, command: list[str], reason: str
) -> None:
    run = Run.create(workspace, tiny())
    monkeypatch.setattr(supervisor, "worker_command", lambda run, attempt: command)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    assert supervisor.supervise(run) == 1
    assert len([record for record in run.launches() if isinstance(record, Launched)]) == 1
    assert run.state() is RunState.FAILED
    reason_shown = failure(run)
    assert reason_shown is not None
    assert reason in reason_shown.what


def test_a_killed_worker_is_restarted(workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(workspace, tiny())
    die = "import os, sys; print('noise', file=sys.stderr); os.kill(os.getpid(), 9)"
    monkeypatch.setattr(supervisor, "worker_command", lambda run, attempt: [sys.executable, "-c", die])
    monkeypatch.setattr(supervisor, "RETRIES", 1)
    assert supervisor.supervise(run) == 1
    assert len([record for record in run.launches() if isinstance(record, Launched)]) == 2
    reason_shown = failure(run)
    assert reason_shown is not None
    assert reason_shown.what == "its worker ended with signal 9"


def test_the_reason_is_found_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    before = "OSError: of an earlier attempt\n"
    for text, reason in (
        (
            "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'y'\n",
            "ModuleNotFoundError",
        ),
        (
            "cannot read the run: it is gone   (there)\n        what to do\n",
            "cannot read the run: it is gone   (there)",
        ),
        ("Fatal Python error: Segmentation fault\n\nCurrent thread:\n  File x\n", "Fatal Python error: Segmentation"),
        ("process 1: cannot train: too big\ntorch.distributed.ChildFailedError: \n====\n", "process 1: cannot train"),
        ("something printed\n", "something printed"),
        ("", ""),
    ):
        log.write_text(before + text)
        assert find_reason(log, len(before)).startswith(reason)
    log.write_text(before + "something printed\n")
    assert find_reason(log, len(before), killed=True) == ""
    assert find_reason(tmp_path / "none", 0) == ""


def test_a_run_whose_directory_is_moved_ends(launched: Launch, tiny: Make, tmp_path: Path) -> None:
    run = launched(tiny("train.steps=1000000"))
    wait_for(lambda: run.summary().metric is not None)
    processes = [psutil.Process(pid) for pid in (run.supervisor(), run.writer()) if pid]
    assert len(processes) == 2
    aside = tmp_path / "aside"
    run.path.rename(aside)
    for process in processes:
        wait_for(lambda process=process: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert "its directory was deleted, moved or replaced" in (aside / "log.txt").read_text()
    assert not run.path.exists()


def test_a_lock_whose_file_was_deleted_or_replaced_does_not_stand(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = Lock.acquire(path)
    assert lock is not None
    with lock:
        assert lock.stands()
        path.unlink()
        assert not lock.stands()
        path.touch()
        assert not lock.stands()


def test_a_run_without_its_control_directory_still_takes_requests(
    workspace: Workspace, tiny: Make, launched: Launch
) -> None:
    run = Run.create(workspace, tiny("train.steps=1000000"))
    shutil.rmtree(run.control)
    shutil.rmtree(run.checkpoints)
    assert command_line(["resume", "--detach", run.id]) == 0
    wait_for(lambda: run.summary().metric is not None)
    shutil.rmtree(run.control)
    assert command_line(["pause", run.id]) == 0
    wait_for(lambda: run.summary().paused)
    assert command_line(["stop", run.id]) == 0
    assert run.state() is RunState.STOPPED
    assert readable_checkpoints(run.checkpoints)


def test_a_worker_with_too_little_memory_reports_no_unexpected_error(workspace: Workspace, tiny: Make) -> None:
    """Under any `ulimit -v`, the error is not reported as unexpected."""
    run = Run.create(workspace, tiny("train.steps=5"))
    worker = [sys.executable, "-P", "-m", "core.worker", str(run.path), "1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    for limit in (600_000, 1_000_000):
        command = f"ulimit -v {limit}; exec {' '.join(worker)}"
        subprocess.run(["bash", "-c", command], env=environment, check=False, capture_output=True, timeout=300)
        ended = run.end_event()
        assert ended is None or "unexpected error" not in ended.what


def test_leftovers_of_dead_processes_are_deleted_and_files_of_living_ones_kept(
    workspace: Workspace, tiny: Make
) -> None:
    run = Run.create(workspace, tiny())
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    (workspace.artifacts / "tokens").mkdir()
    dead, alive = (
        [
            workspace.runs / f".trash-20260101-{pid}",
            workspace.runs / f".20260101-000000-x-ffff.{pid}.tmp",
            workspace.artifacts / "tokens" / f".trash-x-{pid}",
            run.path / f".status.json.{pid}.tmp",
            run.control / f".stop.{pid}.tmp",
        ]
        for pid in (ended.pid, os.getpid())
    )
    for path in (*dead, *alive):
        if "trash" in path.name:
            path.mkdir()
            (path / "file").touch()
        else:
            path.touch()
    remove_leftovers(workspace)
    assert not [path for path in dead if path.exists()]
    assert [path for path in alive if path.exists()] == alive
    assert Run.open(run.path).state() is RunState.CREATED


def test_a_run_killed_during_its_creation_is_absent(
    workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    child = os.fork()
    if not child:
        monkeypatch.setattr("core.runs.directory.write_atomic", lambda *_: os._exit(9))
        try:
            Run.create(workspace, tiny())
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert list(workspace.runs.iterdir())
    assert command_line(["ls"]) == 0
    assert "there are no runs yet" in capsys.readouterr().err
