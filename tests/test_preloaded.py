"""A process that is forked for tests is what a started one would be, to itself and to others."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil

from core.runs.launch import child_environment, python_command
from core.storage.workspace import Workspace
from tests import leftovers
from tests.core.inference_process import saved, serving, text


def test_a_forked_process_has_what_a_started_one_has(workspace: Workspace, tmp_path: Path) -> None:
    command = python_command("core.sample.serve", "--idle", "60")
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=child_environment(workspace) | {"OF_THE_TEST": "its own"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"no request\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(b'{"type":"refused"')
        seen = psutil.Process(process.pid)
        assert seen.ppid() == os.getpid() and os.getpgid(process.pid) == process.pid
        assert [word for word in seen.cmdline() if word] == command
        assert seen.environ()[leftovers.MARK] == os.environ[leftovers.MARK]
        assert seen.cwd() == str(tmp_path)
        assert [file.path for file in seen.open_files()] == []
        process.stdin.close()
        assert process.wait() == 0


def test_a_forked_process_computes_and_is_killed(workspace: Workspace, tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "checkpoints", 7)
    with serving(workspace) as child, serving(workspace) as other:
        assert text(child.generate(1, checkpoint)) == text(other.generate(1, checkpoint)) != ""
        child.process.kill()
        assert child.process.wait() == -signal.SIGKILL
        assert text(other.generate(2, checkpoint)) != ""
