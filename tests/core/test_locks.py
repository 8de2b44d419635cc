"""The holder of a lock is asked of the kernel, also if it is in another process namespace or on another machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core import ROOT
from core.recipe.schema import Recipe
from core.runs import launch
from core.runs.deletion import remove_directory
from core.runs.directory import Run, RunState
from core.runs.errors import RunActiveError
from core.storage import locks
from core.storage.locks import ELSEWHERE, Lock, holder
from core.storage.workspace import Workspace
from llmtui.cli.main import run as llmtui
from tests.ui.fake_runs import finished_run, hold_locks

HOLD = (
    "import sys; from pathlib import Path; from core.storage.locks import Lock\n"
    "held = [Lock.acquire(Path(path)) for path in sys.argv[1:]]\n"
    "print('held' if all(held) else 'busy', flush=True); sys.stdin.read()"
)


def namespaces() -> bool:
    """Whether process namespaces can be created here."""
    if shutil.which("unshare") is None:
        return False
    made = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False)
    return made.returncode == 0


contained = pytest.mark.skipif(not namespaces(), reason="process namespaces cannot be created here")


def inside(code: str, *arguments: str) -> str:
    """The output of `code` in another process namespace, in which the processes here have no id."""
    command = ["unshare", "--pid", "--fork", sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def holding(*paths: Path) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *map(str, paths)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def test_the_holder_of_a_lock_is_found_without_write_access(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    flags: list[int] = []
    with holding(path) as pid, pytest.MonkeyPatch.context() as patch:
        real = os.open
        patch.setattr(os, "open", lambda name, how, *mode: flags.append(how) or real(name, how, *mode))
        assert holder(path) == pid
    assert [how & os.O_ACCMODE for how in flags] == [os.O_RDONLY]
    assert holder(path) is None
    assert holder(tmp_path / "none") is None
    assert holder(path / "below a file") is None


@pytest.mark.parametrize("reported_pid", [0, -1, -4711])
def test_a_holder_without_process_id_in_this_namespace_is_a_holder(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, reported_pid: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(workspace, "elsewhere", 5)
    with hold_locks(run):
        real = locks._conflicting_lock
        monkeypatch.setattr(locks, "_conflicting_lock", lambda fd: (real(fd)[0], reported_pid))
        assert run.writer() == run.supervisor() == ELSEWHERE
        assert run.state() is RunState.RUNNING
        killed: list[int] = []
        monkeypatch.setattr(os, "kill", lambda pid, sig: killed.append(pid))
        assert not launch.kill(run)
        assert killed == []
        with pytest.raises(RunActiveError):
            run.remove()
        assert not launch.wait_until_ended(run, 0.05)
        assert llmtui(["stop", "--now", run.id]) == 75
        assert "another container" in capsys.readouterr().err
        assert (run.control / "stop").exists()
        assert llmtui(["rm", "--yes", run.id]) == 75
    assert run.path.is_dir()


@contained
def test_another_container_with_the_same_home_sees_a_run_as_running_and_does_not_delete_it(
    workspace: Workspace,
) -> None:
    run = finished_run(workspace, "outside", 5)
    show_state = (
        "import sys; from pathlib import Path; from core.runs.directory import Run\n"
        "run = Run.open(Path(sys.argv[1])); print(run.writer(), run.state().value)"
    )
    remove = (
        "import sys; from pathlib import Path; from core.runs.deletion import remove_directory\n"
        "from core.runs.errors import RunActiveError\n"
        "try:\n    remove_directory(Path(sys.argv[1]))\nexcept RunActiveError:\n    print('kept')"
    )
    with hold_locks(run):
        assert inside(show_state, str(run.path)) == "-1 running"
        assert inside(remove, str(run.path)) == "kept"
        names = "from core.runs.directory import Run; from core.runs.control import request_stop"
        inside(
            f"import sys; from pathlib import Path; {names}; request_stop(Run.open(Path(sys.argv[1])))", str(run.path)
        )
        assert (run.control / "stop").exists()
    assert inside(show_state, str(run.path)) == "None done"
    inside(remove, str(run.path))
    assert not run.path.exists()


def test_a_run_is_not_deleted_while_its_lock_cannot_be_acquired(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems report holders wrongly; what counts is whether the lock can be acquired."""
    run = finished_run(workspace, "kept", 5)
    for name in ("supervisor.lock", "writer.lock"):
        with holding(run.path / name):
            monkeypatch.setattr(locks, "_conflicting_lock", lambda fd: (fcntl.F_UNLCK, 0))
            with pytest.raises(RunActiveError):
                remove_directory(run.path)
            monkeypatch.undo()
    assert run.state() is RunState.DONE


def test_a_file_system_without_locks_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(OSError, match="No locks"):
        Lock.acquire(tmp_path / "lock")


@pytest.mark.heavy
def test_a_directory_that_is_not_a_run_is_listed_and_can_be_deleted(
    workspace: Workspace, tiny: Callable[..., Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.create(workspace, tiny())
    broken = workspace.runs / "20990101-000000-broken-ffff"
    broken.mkdir()
    assert llmtui(["ls"]) == 0
    output = capsys.readouterr()
    assert "20990101-000000-broken-ffff  unreadable" in output.out
    assert run.id in output.out
    assert "llmtui rm 20990101-000000-broken-ffff" in output.err
    assert llmtui(["show", broken.name]) == 1
    assert "run.json" in capsys.readouterr().err
    assert llmtui(["rm", "--yes", broken.name]) == 0
    assert not broken.exists()
    assert run.path.exists()
