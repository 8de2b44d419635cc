"""The inference process ends with whoever asks it, at once; and it waits for nobody else."""

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


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(tmp_path / "step-00000007")


def begun(child: Child, checkpoint: Path) -> None:
    """Let it write a text that never ends."""
    child.say(endless(1, checkpoint))
    assert isinstance(child.next(), Loaded)


def test_while_nobody_reads_it_stands_still_but_can_be_cancelled_and_ended(
    workspace: Workspace, checkpoint: Path
) -> None:
    with serving(workspace) as child:
        begun(child, checkpoint)
        process = psutil.Process(child.process.pid)

        def still() -> bool:
            before = process.cpu_times().user
            time.sleep(0.3)
            return process.cpu_times().user == before

        wait_for(still, what="it waits for its reader")
        held = child.memory()
        for number in range(2, 1000):  # more than it takes ahead: they wait in the pipe
            child.say(Cancel(id=number))
        child.say(Cancel(id=1))
        wait_for(still, what="it waits for its reader")
        assert child.memory() < held + 2**22
        last = child.answer(1)[-1]
        assert isinstance(last, Finished)
        assert last.cancelled
        loaded(child.ask(2, checkpoint))
        begun(child, checkpoint)
        wait_for(still, what="it waits for its reader")
        assert child.process.stdin is not None
        child.process.stdin.close()  # with nobody to read, it is gone all the same
        assert child.process.wait(PATIENCE) == 0


def test_a_closed_output_ends_it(workspace: Workspace, checkpoint: Path) -> None:
    with serving(workspace) as child:
        begun(child, checkpoint)
        assert child.process.stdout is not None and child.process.stderr is not None
        child.process.stdout.close()
        assert child.process.wait(PATIENCE) == 0
        assert child.process.stderr.read() == b""


def test_it_ends_when_its_parent_is_killed_while_it_works(workspace: Workspace, checkpoint: Path) -> None:
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
    assert not gone(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    wait_for(lambda: gone(child), what="the child ends")


def gone(process: psutil.Process) -> bool:
    """Ended, whether or not somebody has asked how."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
