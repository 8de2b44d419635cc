"""The queue of runs: each uses a device of its own, and a run that finds none free waits for its turn.

    <data>/queue/device-NAME.lock     held by the supervisor of the run that uses the device; contains the run's id
    <data>/queue/waiting/RUN_ID       devices and place of a run whose supervisor waits

No process manages it: each supervisor waits for its own turn, and what it holds is free again when it ends in any way.
A device is "cpu", "mps", or a GPU's number. Two runs on one device at once would each take more than twice as long.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from core.errors import UsageError
from core.parsing import ParseError, parse_json
from core.runs.directory import Run, RunState, queue_entry
from core.storage.files import write_atomic
from core.storage.locks import Lock, holder

POLL_SECONDS = 0.5
"""How often a waiting supervisor reads the queue."""

DECISION_SECONDS = 2.0
"""How long `begins_to_wait` gives a supervisor that has its lock to take its devices, which takes it milliseconds."""


class NotQueuedError(UsageError):
    doing = "change the queue"


class QueueEntry(Struct, frozen=True, kw_only=True):
    """A run that waits."""

    run_id: str
    order: float
    """Lowest first. By default the time when it began to wait."""
    devices: tuple[str, ...]
    """Those it may use."""
    count: int = 1
    """How many of them it needs at once."""


class Devices:
    """The devices that a run uses, until `release` or the end of the process."""

    def __init__(self, names: Sequence[str] = (), locks: Sequence[Lock] = ()) -> None:
        """names: empty if it shares devices with other runs."""
        self.names, self._locks = names, locks

    def environment(self) -> dict[str, str]:
        """Variables for the worker: the GPUs that it can see."""
        gpus = [name for name in self.names if name not in ("cpu", "mps")]
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}

    def release(self) -> None:
        """Let the next run have them."""
        for lock in self._locks:
            lock.release()


def wait_for_devices(run: Run) -> Devices | None:
    """Wait until the devices of `run` are free and every earlier run has its own; None if a stop is requested or the
    run was deleted.

    The caller holds the run's `supervisor.lock`. A request to start now ends the wait: the run then shares devices.
    """
    directory = queue_entry(run.path).parent.parent
    names, count = _usable_devices(run)
    own = queue_entry(run.path)
    try:
        own.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            entry = _read(own) or QueueEntry(run_id=run.id, order=time.time(), devices=names, count=count)
            if not own.exists():
                write_atomic(own, msgspec.json.encode(entry), durable=False)
            if not _waits_for_another(run, entry):
                devices = _acquire(directory, entry)
                if devices:
                    return devices
            if (run.control / "stop").exists() or not run.path.is_dir():
                return None
            if (run.control / "start").exists():
                return Devices()
            time.sleep(POLL_SECONDS)
    finally:
        own.unlink(missing_ok=True)
        (run.control / "start").unlink(missing_ok=True)


def _usable_devices(run: Run) -> tuple[tuple[str, ...], int]:
    """Names of the devices that `run` may use, and how many of them it needs."""
    wanted = run.recipe.train.device
    if wanted in ("cpu", "mps"):
        return (wanted,), 1
    from core.hardware import gpu_count  # needed by supervisors alone, and slow to import

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [str(index) for index in range(gpu_count())]
    if visible is not None:
        gpus = [name.strip() for name in visible.split(",") if name.strip() and gpus]
    if not gpus:
        return ("cpu",), 1  # an error of the worker if it wanted a GPU, for which it need not wait
    return tuple(gpus), max(1, min(run.processes, len(gpus)))


def _acquire(directory: Path, entry: QueueEntry) -> Devices | None:
    """Take as many devices as `entry` needs; None if too few are free."""
    locks: list[Lock] = []
    names: list[str] = []
    for name in entry.devices:
        path = _device_lock(directory, name)
        lock = Lock.acquire(path)
        if lock is None:
            continue
        if _trains(directory, lock.read()):  # its supervisor was killed, and its worker continues
            lock.release()
            continue
        locks.append(lock)
        names.append(name)
        if len(names) == entry.count:
            for taken in locks:
                taken.write(entry.run_id)
            return Devices(names, locks)
    for lock in locks:
        lock.release()
    return None


def _trains(directory: Path, run_id: str) -> bool:
    """Whether the run with that id has a worker."""
    if not run_id or "/" in run_id or run_id.startswith("."):
        return False
    return holder(directory.parent / "runs" / run_id / "writer.lock") is not None


def _waits_for_another(run: Run, entry: QueueEntry) -> bool:
    """Whether an earlier run waits for one of the same devices."""
    others = waiting(run.path.parent, but=run.id)
    return any(
        (other.order, other.run_id) < (entry.order, entry.run_id) and set(other.devices) & set(entry.devices)
        for other in others
    )


# -- reading and changing the queue ---------------------------------------------------------------------------------


def waiting(runs: Path, *, but: str = "") -> list[QueueEntry]:
    """The runs that wait, first one first.

    runs: the directory of all runs. but: a run that is left out; a supervisor names its own, whose lock it would lose.
    """
    return sorted(_entries(runs, but), key=lambda entry: (entry.order, entry.run_id))


def _entries(runs: Path, but: str) -> Iterator[QueueEntry]:
    for path in queue_entry(runs / "-").parent.glob("[!.]*"):
        if path.name == but:
            continue
        entry = _read(path)
        if entry and holder(runs / path.name / "supervisor.lock") is not None:  # else it was killed while it waited
            yield entry


def occupants(runs: Path) -> dict[str, str]:
    """The id of the run that uses each device. Not for a supervisor, which would lose its own device."""
    directory = queue_entry(runs / "-").parent.parent
    using = {}
    for path in sorted(directory.glob("device-*.lock")):
        with contextlib.suppress(OSError):
            run_id = path.read_text("utf-8", errors="replace")
            if holder(path) is not None or _trains(directory, run_id):
                using[path.stem.removeprefix("device-")] = run_id
    return using


def begins_to_wait(run: Run) -> bool:
    """Whether `run`, whose supervisor has just been started, waits for a device that another run uses or waits for."""
    runs = run.path.parent
    deadline = time.monotonic() + DECISION_SECONDS
    while time.monotonic() < deadline and run.supervisor() is not None and run.writer() is None:
        using = occupants(runs)
        if run.id in using.values():
            return False
        entry = _read(queue_entry(run.path))
        waits = entry and (len(set(entry.devices) - set(using)) < entry.count or _waits_for_another(run, entry))
        # a device that was just taken still has the id of the run before
        if entry and waits and not _has_taken_one(run, entry):
            return True
        time.sleep(0.01)
    return False


def _has_taken_one(run: Run, entry: QueueEntry) -> bool:
    """Whether the supervisor of `run` holds the lock of one of its devices."""
    directory, supervisor = queue_entry(run.path).parent.parent, run.supervisor()
    return supervisor is not None and supervisor in (holder(_device_lock(directory, name)) for name in entry.devices)


def move(run: Run, places: int) -> None:
    """Move a waiting run by that many places: -1 lets it start one run earlier. Raises NotQueuedError."""
    if run.host:
        raise NotQueuedError(f"{run.id} waits on {run.host}", todo=f"change its place there: llmtui queue {run.id}")
    queue = waiting(run.path.parent)
    index = next((i for i, entry in enumerate(queue) if entry.run_id == run.id), None)
    if index is None:
        raise NotQueuedError(f"{run.id} does not wait ({run.state().value})")
    target = max(0, min(len(queue) - 1, index + places))
    if target == index:
        return
    rest = [entry for entry in queue if entry.run_id != run.id]
    before = rest[target - 1].order if target else rest[0].order - 2
    after = rest[target].order if target < len(rest) else rest[-1].order + 2
    moved = msgspec.structs.replace(queue[index], order=(before + after) / 2)
    path = queue_entry(run.path)
    if path.exists():  # else it has started meanwhile
        write_atomic(path, msgspec.json.encode(moved), durable=False)


def request_start(run: Run) -> None:
    """Let a waiting run start now, beside those that use its devices. Raises NotQueuedError."""
    if run.state() is not RunState.QUEUED:
        raise NotQueuedError(f"{run.id} does not wait ({run.state().value})")
    run.control.mkdir(mode=0o700, exist_ok=True)
    write_atomic(run.control / "start", b"", durable=False)


def _read(path: Path) -> QueueEntry | None:
    with contextlib.suppress(OSError, ParseError):
        return parse_json(path.read_bytes(), QueueEntry)
    return None


def _device_lock(directory: Path, name: str) -> Path:
    return directory / f"device-{re.sub(r'[^A-Za-z0-9-]', '-', name)}.lock"
