"""The side of a mirror that runs on the host: `llmtui hosts serve`, which ssh starts and connects to the mirror.

It reads the run directories twice a second and sends what is new. It needs no port and no daemon: it ends with the
connection.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

from core import __version__
from core.checkpoints import Which, checkpoint_paths, readable_checkpoints, select_checkpoint
from core.errors import LlmtuiError
from core.hardware import HardwareMonitor, machine
from core.remote.growing_file import continues
from core.remote.messages import (
    CHUNK,
    GREETING,
    MIRRORED,
    PROTOCOL,
    Appended,
    CheckpointFile,
    CheckpointSent,
    FetchCheckpoint,
    FromHost,
    Hello,
    HostLoad,
    Mirrored,
    MirrorProtocolError,
    PutRequest,
    RemoveRequest,
    RequestFailed,
    RunDescription,
    RunGone,
    RunProcesses,
    StartRun,
    ToHost,
    Welcome,
    is_plain,
    receive_at_host,
    send,
)
from core.run_names import run_ids
from core.runs import launch
from core.runs.control import put_request
from core.runs.directory import Run
from core.runs.queue import waiting
from core.runs.remote_state import RemoteCheckpoint, RemoteState, describe_checkpoint
from core.storage.locks import holder
from core.storage.workspace import Workspace

TICK = 0.5
"""Seconds between two polls of the run directories."""

LOAD_EVERY = 5.0
"""Seconds between two `HostLoad`."""

NEWEST = 20
"""So many of the newest runs are mirrored, and all active ones."""

PER_TICK = 2**21
"""Bytes of a run's files sent in one tick."""


class RunSender:
    """What the mirror has of one run."""

    def __init__(self, run: Run, mirrored: dict[str, Mirrored]) -> None:
        self._run = run
        self._sent: dict[str, int | None] = dict.fromkeys(MIRRORED, 0)
        """Bytes of each file that the mirror has; None: what it has is not of that file."""
        for name, known in mirrored.items():
            self._sent[name] = known.size if continues(run.path / name, known) else None
        self._description = b""
        self._processes: RunProcesses | None = None
        self._checkpoints: tuple[RemoteCheckpoint, ...] = ()
        self._checkpoint_names: list[str] = []

    def news(self, queue_place: int = 0) -> Iterator[FromHost]:
        """Messages about what has changed since the last call. Raises OSError if the run is gone.

        queue_place: 1 for the first of the runs that wait, 0 for one that does not.
        """
        description = (self._run.path / "run.json").read_bytes()
        if description != self._description:
            self._description = description
            yield RunDescription(self._run.id, description)
        processes = self._read_processes(queue_place)
        for name in MIRRORED:
            yield from self._appended(name)
        if processes != self._processes:  # after the journal: a run that has ended says why
            self._processes = processes
            yield processes

    def _read_processes(self, queue_place: int) -> RunProcesses:
        run = self._run
        names = [path.name for path in checkpoint_paths(run.checkpoints)]
        if names != self._checkpoint_names:
            self._checkpoint_names = names
            self._checkpoints = tuple(map(describe_checkpoint, readable_checkpoints(run.checkpoints)))
        alive = run.supervisor() is not None, run.writer() is not None
        state = RemoteState(queue_place=queue_place, checkpoints=self._checkpoints)
        return RunProcesses(run.id, *alive, run.pause_requested, state)

    def _appended(self, name: str) -> Iterator[Appended]:
        try:
            with (self._run.path / name).open("rb") as file:
                size, sent = file.seek(0, 2), self._sent[name]
                if sent is None or size < sent:  # truncated by a crash, or replaced
                    sent = 0
                    yield Appended(self._run.id, name, 0, b"")
                file.seek(sent)
                end = min(size, sent + PER_TICK)
                while data := file.read(min(CHUNK, end - sent)):
                    yield Appended(self._run.id, name, sent, data)
                    sent += len(data)
                self._sent[name] = sent
        except FileNotFoundError:
            return


class Host:
    """One connection."""

    def __init__(self, workspace: Workspace, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._workspace, self._incoming, self._outgoing = workspace, incoming, outgoing
        self._senders: dict[str, RunSender] = {}
        self._requests: queue.SimpleQueue[ToHost | None] = queue.SimpleQueue()
        self._monitor = HardwareMonitor(workspace.data)
        self._next_load = 0.0
        self._excluded: set[str] = set()
        self._wanted: dict[str, dict[str, Mirrored]] = {}
        self._active: set[str] = set()

    def serve(self) -> None:
        """Answer until the connection ends. Raises MirrorProtocolError."""
        self._outgoing.write(GREETING)
        self._outgoing.flush()
        hello = receive_at_host(self._incoming)
        if not isinstance(hello, Hello):
            return
        self._send(Welcome(PROTOCOL, __version__, time.time(), machine().words()))
        if hello.protocol != PROTOCOL:
            return
        self._wanted, self._excluded = hello.runs, set(hello.excluded)
        threading.Thread(target=self._receive, daemon=True).start()
        with contextlib.suppress(OSError):  # the connection is gone
            self._send_news()
            while self._answer_requests():
                self._send_news()

    def _receive(self) -> None:
        with contextlib.suppress(MirrorProtocolError, OSError):
            while (message := receive_at_host(self._incoming)) is not None:
                self._requests.put(message)
        self._requests.put(None)

    def _answer_requests(self) -> bool:
        """Wait a tick for requests and fulfil them; False if the connection has ended."""
        until = time.monotonic() + TICK
        while (left := until - time.monotonic()) > 0:
            try:
                request = self._requests.get(timeout=left)
            except queue.Empty:
                break
            if request is None:
                return False
            self._fulfil(request)
        return True

    # -- requests -------------------------------------------------------------------------------------------------

    def _fulfil(self, request: ToHost) -> None:
        if isinstance(request, Hello) or not is_plain(request.run):
            return
        path = self._workspace.runs / request.run
        try:
            run = Run.open(path)
            match request:
                case PutRequest(name=name, data=data) if is_plain(name):
                    put_request(run, name, data)
                case RemoveRequest(name=name) if is_plain(name):
                    (run.control / name).unlink(missing_ok=True)
                case StartRun():
                    launch.start(run, self._workspace)
                case FetchCheckpoint(which=which):
                    self._send_checkpoint(run, which)
        except LlmtuiError as error:
            self._send(RequestFailed(request.run, error.sentence()))
        except OSError as error:
            self._send(RequestFailed(request.run, (error.strerror or str(error)).lower()))

    def _send_checkpoint(self, run: Run, which: str) -> None:
        wanted: Which = int(which) if which.isdecimal() else "best" if which == "best" else "last"
        checkpoint = select_checkpoint(run.checkpoints, wanted).checkpoint
        if checkpoint is None:
            self._send(RequestFailed(run.id, f"it has no checkpoint {which}"))
            return
        name = checkpoint.path.name
        for path in sorted(path for path in checkpoint.path.rglob("*") if path.is_file()):
            with path.open("rb") as file:
                offset = 0
                while (data := file.read(CHUNK)) or not offset:
                    relative = path.relative_to(checkpoint.path).as_posix()
                    self._send(CheckpointFile(run.id, name, relative, offset, data))
                    offset += len(data)
                    if not data:
                        break
        self._send(CheckpointSent(run.id, name))

    # -- news -----------------------------------------------------------------------------------------------------

    def _send_news(self) -> None:
        ids = run_ids(self._workspace)
        for run_id in (set(self._senders) | set(self._wanted)) - set(ids):
            self._senders.pop(run_id, None)
            self._wanted.pop(run_id, None)
            self._send(RunGone(run_id))
        refreshes_all = time.monotonic() >= self._next_load
        if refreshes_all:
            self._next_load = time.monotonic() + LOAD_EVERY
            self._active = {run_id for run_id in ids if self._is_active(run_id)}
        queue_places = {entry.run_id: position for position, entry in enumerate(waiting(self._workspace.runs), 1)}
        for number, run_id in enumerate(ids):
            if run_id not in self._senders:
                wanted = number < NEWEST or run_id in self._wanted or run_id in self._active
                if not wanted or run_id in self._excluded:
                    continue
            with contextlib.suppress(LlmtuiError, FileNotFoundError, NotADirectoryError):
                sender = self._sender(run_id)
                if sender is None:
                    continue
                for message in sender.news(queue_places.get(run_id, 0)):
                    self._send(message)
        if refreshes_all:
            self._send(HostLoad(self._monitor.read(), len(self._active)))

    def _is_active(self, run_id: str) -> bool:
        path = self._workspace.runs / run_id
        return any(holder(path / lock) is not None for lock in ("supervisor.lock", "writer.lock"))

    def _sender(self, run_id: str) -> RunSender | None:
        """None for a run that is itself a mirror."""
        if run_id not in self._senders:
            run = Run.open(self._workspace.runs / run_id)
            if run.host:
                self._excluded.add(run_id)
                return None
            self._senders[run_id] = RunSender(run, self._wanted.get(run_id, {}))
        return self._senders[run_id]

    def _send(self, message: FromHost) -> None:
        send(self._outgoing, message)
