"""The queue of runs, with real supervisors: who waits, in which order, and what frees a device."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from core.recipe.schema import Recipe
from core.runs import queue
from core.runs.control import request_stop
from core.runs.directory import Run, RunState, queue_entry
from core.runs.launch import start
from core.runs.leftovers import remove_leftovers
from core.runs.queue import Devices, NotQueuedError, QueueEntry, begins_to_wait, move, occupants, request_start, waiting
from core.storage.workspace import Workspace
from llmtui.cli.run_output import print_started
from tests.conftest import wait_for_state
from tests.waiting import wait_for

Make = Callable[..., Recipe]
Launch = Callable[[Recipe], Run]

HOLD = """
import sys
from pathlib import Path
from core.storage.locks import Lock
first, *_ = locks = [Lock.acquire(Path(path)) for path in sys.argv[1:]]
first.write("20260101-000000-other-0000")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def busy_processor(workspace: Workspace) -> Iterator[subprocess.Popen[bytes]]:
    """Another process uses the processor until its standard input is closed."""
    with holding(workspace) as process:
        yield process


@contextlib.contextmanager
def holding(workspace: Workspace, *locks: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process holds the lock of the processor, which names another run, and `locks`."""
    workspace.prepare()
    lock = workspace.data / "queue" / "device-cpu.lock"
    lock.parent.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, lock, *locks], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


def ids(workspace: Workspace) -> list[str]:
    return [entry.run_id for entry in waiting(workspace.runs)]


@pytest.mark.heavy
def test_a_run_that_has_just_taken_its_device_is_not_said_to_wait_for_the_one_before(
    workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "DECISION_SECONDS", 0.05)
    run = Run.create(workspace, tiny())
    entry = QueueEntry(run_id=run.id, order=1.0, devices=("cpu",))
    with holding(workspace, run.path / "supervisor.lock"):
        queue_entry(run.path).parent.mkdir()
        queue_entry(run.path).write_bytes(msgspec.json.encode(entry))
        assert "20260101-000000-other-0000" in occupants(workspace.runs).values()
        assert not begins_to_wait(run)


@pytest.mark.heavy
def test_runs_wait_in_order_and_the_order_can_be_changed(
    busy_processor: subprocess.Popen[bytes],
    launched: Launch,
    tiny: Make,
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = []
    for _ in range(3):
        runs.append(launched(tiny("train.steps=2")))
        print_started(runs[-1], share=False, detach=True)
        assert "waits in the background until no other run uses its device" in capsys.readouterr().err
    first, second, third = runs
    assert occupants(workspace.runs) == {"cpu": "20260101-000000-other-0000"}
    assert ids(workspace) == [first.id, second.id, third.id]
    move(third, -1)
    assert ids(workspace) == [first.id, third.id, second.id]
    move(third, -1000)
    assert ids(workspace) == [third.id, first.id, second.id]
    move(third, 1000)
    assert ids(workspace) == [first.id, second.id, third.id]

    request_stop(second)  # a stopped run leaves the queue as if it had not been started
    wait_for_state(second, RunState.CREATED)
    assert ids(workspace) == [first.id, third.id]
    pid = third.supervisor()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)  # nobody waits for a run whose supervisor was killed
    wait_for(lambda: ids(workspace) == [first.id])
    with pytest.raises(NotQueuedError, match="does not wait"):
        move(third, -1)

    assert busy_processor.stdin is not None
    busy_processor.stdin.close()
    wait_for_state(first, RunState.DONE)
    assert not list(queue_entry(first.path).parent.glob(first.id))


@pytest.mark.heavy
def test_a_queued_run_can_start_beside_the_one_that_trains(
    busy_processor: subprocess.Popen[bytes], launched: Launch, tiny: Make
) -> None:
    run = launched(tiny("train.steps=2"))
    wait_for_state(run, RunState.QUEUED)
    request_start(run)
    wait_for_state(run, RunState.DONE)
    with pytest.raises(NotQueuedError, match="done"):
        request_start(run)


@pytest.mark.heavy
def test_a_run_that_shares_does_not_wait(
    busy_processor: subprocess.Popen[bytes], tiny: Make, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.create(workspace, tiny("train.steps=2"))
    start(run, workspace, share=True)
    print_started(run, share=True, detach=True)
    assert "runs in the background" in capsys.readouterr().err
    wait_for_state(run, RunState.DONE)


@pytest.mark.heavy
def test_nothing_waits_for_a_deleted_run(
    busy_processor: subprocess.Popen[bytes], launched: Launch, tiny: Make, workspace: Workspace
) -> None:
    run = launched(tiny("train.steps=2"))
    wait_for_state(run, RunState.QUEUED)
    pid = run.supervisor()
    assert pid is not None
    shutil.rmtree(run.path)
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert not queue_entry(run.path).exists()


def test_the_place_of_a_deleted_run_is_forgotten(workspace: Workspace, tiny: Make) -> None:
    kept, deleted = (Run.create(workspace.prepare(), tiny()) for _ in range(2))
    queue_entry(kept.path).parent.mkdir(parents=True)
    for run in (kept, deleted):
        queue_entry(run.path).write_bytes(b"")
    deleted.remove()
    remove_leftovers(workspace)
    assert queue_entry(kept.path).exists() and not queue_entry(deleted.path).exists()


def test_only_runs_that_compete_for_a_device_wait_for_each_other(workspace: Workspace, tiny: Make) -> None:
    """An entry without a living supervisor is not in the queue; damaged ones are ignored."""
    run = Run.create(workspace.prepare(), tiny())
    entry = queue_entry(run.path)
    entry.parent.mkdir(parents=True)
    entry.write_bytes(msgspec.json.encode(QueueEntry(run_id=run.id, order=1.0, devices=("0", "1"))))
    entry.with_name("damaged").write_text("{")
    assert waiting(workspace.runs) == []


def test_a_worker_sees_only_the_gpus_of_its_run() -> None:
    assert Devices(("2", "5")).environment() == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "2,5"}
    assert Devices(("cpu",)).environment() == {}
    assert Devices().environment() == {}
