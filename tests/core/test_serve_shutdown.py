"""The inference process ends with its client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from core.sample.protocol import Cancel, Finished, Loaded, encode
from core.storage.workspace import Workspace
from tests.core.inference_process import Child, endless, loaded, save, serving
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.heavy


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(tmp_path / "step-00000007")


def start_endless(child: Child, checkpoint: Path) -> None:
    """Start a request whose text never ends."""
    child.send(endless(1, checkpoint))
    assert isinstance(child.next(), Loaded)


def test_an_unread_output_blocks_generation_but_not_cancel_and_shutdown(workspace: Workspace, checkpoint: Path) -> None:
    with serving(workspace) as child:
        start_endless(child, checkpoint)
        process = psutil.Process(child.process.pid)

        def is_idle() -> bool:
            before = process.cpu_times().user
            time.sleep(0.3)
            return process.cpu_times().user == before

        wait_for(is_idle, what="the process blocks on its output")
        used = child.memory()
        for number in range(2, 1000):  # more than it buffers: they wait in the pipe
            child.send(Cancel(id=number))
        child.send(Cancel(id=1))
        wait_for(is_idle, what="the process blocks on its output")
        assert child.memory() < used + 2**22
        last = child.receive(1)[-1]
        assert isinstance(last, Finished)
        assert last.cancelled
        loaded(child.generate(2, checkpoint))
        start_endless(child, checkpoint)
        wait_for(is_idle, what="the process blocks on its output")
        assert child.process.stdin is not None
        child.process.stdin.close()  # ends although its output is not read
        assert child.process.wait(PATIENCE) == 0


def test_a_closed_output_ends_the_process(workspace: Workspace, checkpoint: Path) -> None:
    with serving(workspace) as child:
        start_endless(child, checkpoint)
        assert child.process.stdout is not None and child.process.stderr is not None
        child.process.stdout.close()
        assert child.process.wait(PATIENCE) == 0
        assert child.process.stderr.read() == b""


def test_the_process_ends_when_its_parent_is_killed(workspace: Workspace, checkpoint: Path) -> None:
    code = f"""
import subprocess, sys
from core.runs.launch import child_environment, python_command
from core.storage.workspace import Workspace
command, pipe = python_command("core.sample.serve"), subprocess.PIPE
child = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=child_environment(Workspace()))
child.stdin.write({encode(endless(1, checkpoint))!r} + b"\\n")
child.stdin.flush()
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert not has_ended(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    wait_for(lambda: has_ended(child), what="the child ends")


def has_ended(process: psutil.Process) -> bool:
    """Whether the process has ended, reaped or not."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
