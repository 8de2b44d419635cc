"""Starting detached processes, which outlive the terminal, and stopping them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from core import ROOT
from core.errors import BusyError, DiskError, LlmtuiError
from core.runs.control import RESUME, ControlRequests, read_answer, request_resume
from core.runs.directory import Run, connection_lock
from core.runs.errors import RunActiveError
from core.runs.failure import find_reason
from core.storage.files import private
from core.storage.locks import ELSEWHERE, holder
from core.storage.workspace import Workspace

_REMOVED_VARIABLES = (
    *("PYTHONPATH", "PYTHONSTARTUP"),
    # set inside a torchrun job, to which our processes do not belong
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
)


class LaunchError(LlmtuiError):
    doing = "start the run"


class StopTimeoutError(BusyError):
    doing = "stop the run"


def python_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs `module` in a new interpreter. -P keeps the current folder out of the module path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment(workspace: Workspace) -> dict[str, str]:
    """Environment of child processes: this `core` comes first on the path, caches are private, output is unbuffered."""
    env = {key: value for key, value in os.environ.items() if key not in _REMOVED_VARIABLES}
    if "site-packages" not in ROOT.parts:
        env["PYTHONPATH"] = str(ROOT)
    env |= {
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUTF8": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }
    env["TORCHINDUCTOR_CACHE_DIR"] = str(workspace.cache / "inductor")
    env["TRITON_CACHE_DIR"] = str(workspace.cache / "triton")
    if "OMP_WAIT_POLICY" not in env:
        # threads of one matrix product wait for each other by spinning, for long if another process occupies the core:
        # next to one busy loop on two cores the default trains 2,200 tokens/s, this 3,600; on an idle machine the same
        env.setdefault("GOMP_SPINCOUNT", "10000")
    if workspace.home is not None:
        env["LLMTUI_HOME"] = str(workspace.home)  # absolute: the processes work in another directory
    return env


def start(run: Run, workspace: Workspace, *, share: bool = False, patience: float = 60.0) -> None:
    """Start the run's supervisor, detached, and wait until it holds its lock. Also the way to resume.

    A trial that waits at a rung of its study, see `core.tune.halving`, continues to its end. share: do not wait until
    no other run uses the device. patience: seconds to wait for the supervisor; it takes 0.3 on an idle machine. Raises
    RunActiveError, LaunchError, DiskError.
    """
    running = RunActiveError(f"{run.id} is running already")
    if run.supervisor() is not None:
        raise running
    if run.host:
        _start_on_host(run, patience)
        return
    rung = run.summary().waiting_rung if run.file.stop_at < 1 else None
    if rung and rung.share >= run.file.stop_at:
        run.train_until(1.0)
    try:
        if run.writer() is None:  # an orphaned worker may still have to read them
            ControlRequests(run).clear()
    except OSError as error:
        raise DiskError.from_oserror(error, run.path, kept="it was not started") from None
    start_detached(
        python_command("core.runs.supervisor", str(run.path), *(["--share"] if share else [])),
        workspace,
        name="supervisor",
        log=run.log,
        lock=run.path / "supervisor.lock",
        record=run.path / "launches.jsonl",
        busy=running,
        failed=LaunchError,
        patience=patience,
    )


def _start_on_host(run: Run, patience: float) -> None:
    """Let the mirror of a run ask its host to start it, and wait until the host says that it has."""
    if holder(connection_lock(run.path, run.host)) is None:
        raise LaunchError(f"{run.host} is not connected", todo=f"connect to it: llmtui hosts connect {run.host}")
    request_resume(run)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if run.supervisor() is not None:
            return
        if answer := read_answer(run):
            raise LaunchError(answer.error, where=run.host)
        time.sleep(0.05)
    (run.control / RESUME).unlink(missing_ok=True)
    raise LaunchError(f"{run.host} does not answer", todo=f"llmtui hosts show {run.host} says more")


def start_detached(
    command: list[str],
    workspace: Workspace,
    *,
    name: str,
    log: Path,
    lock: Path,
    record: Path,
    busy: BusyError,
    failed: type[LlmtuiError],
    patience: float,
) -> None:
    """Start a process in the directory of `lock`, detached, and wait until it holds the lock.

    name: what it is, for messages. log: gets its output. record: a file that has grown if it has done its work and
    exited meanwhile. busy: raised if another process holds the lock; failed: raised, with a reason, if it does not come
    up. Raises DiskError.
    """
    try:
        started, before = (path.stat().st_size if path.exists() else 0 for path in (log, record))
        with open(log, "ab", opener=private) as output:
            process = subprocess.Popen(
                command,
                cwd=lock.parent,
                env=child_environment(workspace),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    except OSError as error:
        raise DiskError.from_oserror(error, lock.parent, kept="it was not started") from None
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if holder(lock) == process.pid:
            return
        code = process.poll()
        if code == BusyError.exit_code:
            raise busy
        if code is not None and record.exists() and record.stat().st_size > before:
            return
        if code is not None:
            reason = find_reason(log, started) or f"its {name} ended at once with code {code}"
            raise failed(reason, where=str(log), todo="the log says more")
        time.sleep(0.01)
    raise failed(f"its {name} did not come up within {patience:.0f} s", where=str(log))


def kill(run: Run, *, sig: signal.Signals = signal.SIGTERM) -> bool:
    """Send `sig` to the worker, whose pid is read from its lock. Returns False if there is none on this machine.

    Raises RemoteRunError for the mirror of a run of another machine, whose locks the mirroring process holds.
    """
    run.require_local()
    pid = run.writer()
    if pid is None or pid == ELSEWHERE:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sig)
    return True


def wait_until_ended(run: Run, seconds: float) -> bool:
    """Wait up to `seconds` until supervisor and worker have exited; returns whether they have."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if run.supervisor() is None and run.writer() is None:
            return True
        time.sleep(0.02)
    return False
