"""The process that watches a worker: `python -P -m core.runs.supervisor RUN_DIR [--share]`.

It waits until the run has a device of its own (`core.runs.queue`), records how the worker ended (signals and
out-of-memory kills included), restarts it from its last checkpoint unless it would fail again, and takes over a worker
whose supervisor died. It imports nothing heavy and writes neither journal nor checkpoints.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from core.checkpoints import checkpoint_paths
from core.errors import BusyError, ProcessKilledError, log
from core.hardware import cores
from core.runs.control import request_stop
from core.runs.directory import DIRECTORY_GONE, Run, queue_entry
from core.runs.failure import find_reason
from core.runs.launch import python_command
from core.runs.launches import Exited, Launched
from core.runs.leftovers import remove_leftovers
from core.runs.queue import Devices, wait_for_devices
from core.storage.files import private
from core.storage.journal import JournalWriter
from core.storage.locks import Lock
from core.storage.workspace import Workspace
from core.targets.start import plan_start, run_on_target
from core.targets.template import TargetError, find_target

RETRIES = 3
"""Crashes in a row, without a new checkpoint in between, after which it gives up."""

LOG_LIMIT = 32 * 2**20
"""Size of log.txt in bytes beyond which it is truncated."""

NOT_FOUND = 127
"""A shell's exit code for a program that cannot be started."""


def supervise(run: Run, *, share: bool = False) -> int:
    """Run workers on `run` until one writes its last event, they crash too often, or a stop is requested.

    share: start at once, even if another run uses the device.
    """
    lock = Lock.acquire(run.path / "supervisor.lock")
    if lock is None:
        return BusyError.exit_code
    with lock:
        if _adopt(run) and run.end_event():
            return 0
        elsewhere = bool(run.file.target)
        if share or elsewhere:
            queue_entry(run.path).unlink(missing_ok=True)  # of a supervisor that was killed while it waited
        devices = Devices() if share or elsewhere else wait_for_devices(run)
        if devices is None:
            return 0
        records = JournalWriter(run.path / "launches.jsonl")
        attempt = max((record.attempt for record in run.launches()), default=0)
        crashes, seen = 0, _newest_checkpoint(run)
        while True:
            attempt += 1
            kills = _out_of_memory_kills()
            _record(records, Launched(attempt=attempt))
            code, reason = _run_worker(run, attempt, devices)
            _adopt(run)  # with several processes rank 0 may outlive torchrun
            if not lock.stands():
                _record(records, Exited(attempt=attempt, code=code, reason=DIRECTORY_GONE, gave_up=True))
                log(f"{run.id}: {DIRECTORY_GONE}; it is not started again")
                return 1
            if run.end_event():
                _record(records, Exited(attempt=attempt, code=code))
                return 0
            out_of_memory = _out_of_memory_kills() > kills
            newest = _newest_checkpoint(run)
            progressed, seen = newest != seen, newest
            crashes = 1 if progressed else crashes + 1
            gave_up = crashes > RETRIES or out_of_memory or (_would_fail_again(run, code, reason) and not progressed)
            _record(
                records,
                Exited(attempt=attempt, code=code, reason=reason, out_of_memory=out_of_memory, gave_up=gave_up),
            )
            if gave_up or (run.control / "stop").exists():
                return 1
            time.sleep(min(2.0, 0.1 * 2**crashes))


def _would_fail_again(run: Run, code: int, reason: str) -> bool:
    """Whether the next worker would fail in the same way: this one was not killed, but exited with an error.

    torchrun ends with 1 whatever happened; there one of the ranks may have logged its error.
    """
    if run.processes > 1:
        return re.match(r"process \d+: cannot ", reason) is not None
    return 0 < code < 128 and code not in (ProcessKilledError.exit_code, BusyError.exit_code)


def _adopt(run: Run) -> bool:
    """Wait for a worker whose supervisor died; returns False if there is none."""
    if run.writer() is None:
        return False
    while run.writer() is not None:
        time.sleep(0.2)
    return True


def _run_worker(run: Run, attempt: int, devices: Devices) -> tuple[int, str]:
    """Run a worker, or torchrun with several, here or on the run's target, to its end.

    Returns its exit code, or minus the signal that ended it, and the reason found in the log.
    """
    env = os.environ | devices.environment()
    try:
        target = find_target(run.file.target, Workspace()) if run.file.target else None
    except TargetError as error:
        return NOT_FOUND, error.sentence()
    if run.processes > 1:  # torchrun would give each of them one thread
        env.setdefault("OMP_NUM_THREADS", str(max(1, cores() // run.processes)))
    try:
        if run.log.exists() and run.log.stat().st_size > LOG_LIMIT:
            os.truncate(run.log, 0)
        with open(
            run.log, "ab", opener=private
        ) as log:  # a file, not a pipe: the worker outlives a supervisor that dies
            start = log.tell()
            if target is not None:
                plan = plan_start(
                    target, run.path, attempt, nodes=run.file.nodes, processes=run.processes, environment=env
                )
                code = run_on_target(plan, log, lambda: _stops_before_it_starts(run))
            else:
                code = subprocess.Popen(
                    worker_command(run, attempt),
                    cwd=run.path,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                ).wait()
    except TargetError as error:
        return NOT_FOUND, error.sentence()
    except OSError as error:
        return NOT_FOUND, f"its worker cannot be started: {error}"
    return code, find_reason(run.log, start, killed=code < 0) if code else ""


def _stops_before_it_starts(run: Run) -> bool:
    """Whether a stop is requested and no worker is there to carry it out."""
    return (run.control / "stop").exists() and run.writer() is None


def worker_command(run: Run, attempt: int) -> list[str]:
    """The command line of the worker of `run`."""
    worker = ("core.worker", str(run.path), str(attempt))
    if run.processes == 1:
        return python_command(*worker)
    options = ("--standalone", "--nproc-per-node", str(run.processes), "-m")
    return python_command("torch.distributed.run", *options, *worker)


def _record(records: JournalWriter, record: Launched | Exited) -> None:
    records.append(msgspec.json.encode(record))
    records.sync()


def _newest_checkpoint(run: Run) -> Path | None:
    return next(iter(checkpoint_paths(run.checkpoints)), None)


def _out_of_memory_kills() -> int:
    """Number of processes in our cgroup that the kernel has killed for memory; 0 if unknown."""
    for file in (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control")):
        try:
            for line in file.read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        except (OSError, ValueError):
            continue
    return 0


def main() -> int:
    run = Run.open(Path(sys.argv[1]))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: request_stop(run))  # the system shuts down: save a checkpoint
    remove_leftovers(Workspace())  # before its own lock is held; active runs are skipped
    return supervise(run, share="--share" in sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
