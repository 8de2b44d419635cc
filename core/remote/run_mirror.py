"""A run of another machine as a run directory of this one.

It is an ordinary run directory, whose locks are held by the process that mirrors it while the run has processes: lists,
charts and commands need to know nothing else. Its summary and its curves are made here, from the journal.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core.parsing import ParseError, parse_json
from core.remote.growing_file import mirrored_files, write_at
from core.remote.messages import (
    MIRRORED,
    Appended,
    CheckpointFile,
    CheckpointSent,
    FetchCheckpoint,
    Mirrored,
    PutRequest,
    RemoveRequest,
    RunProcesses,
    StartRun,
    ToHost,
    is_plain,
)
from core.runs.control import FETCH, PAUSE, RESUME, Answer, write_answer
from core.runs.curves import Curves
from core.runs.directory import Run, create_parts
from core.runs.errors import InvalidRunError
from core.runs.journal_snapshot import write_snapshot
from core.runs.remote_state import RemoteState, write_remote_state
from core.runs.run_file import SCHEMA, RunFile
from core.runs.summary import Summary
from core.storage.artifact import Artifact, DamagedError
from core.storage.files import creating_directory, remove_tree, write_atomic
from core.storage.journal import JournalReader
from core.storage.locks import Lock
from core.storage.workspace import Workspace

CURVES_EVERY = 10.0
"""Seconds between two writes of curves.json."""

PAUSE_DELAY = 3.0
"""Seconds after a request to pause, or to end a pause, during which the host may still say what was before it."""


MAX_CHECKPOINTS = 1000
"""The newest that are kept of a host's list."""


class RunMirror:
    """The mirror of one run. Its methods raise OSError if the disk is full."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._locks: dict[str, Lock] = {}
        self._paused = run.pause_requested
        """What host and mirror agreed on last."""
        self._pause_sent = 0.0
        self._snapshots: tuple[Summary, JournalReader, Curves, JournalReader] | None = None
        self._unwritten = False
        self._curves_at = 0.0

    @classmethod
    def create(cls, workspace: Workspace, host: str, run_id: str, description: bytes) -> RunMirror | None:
        """The mirror of a run with that run.json; None if it cannot be read here, or another run has that id."""
        path = workspace.runs / run_id
        file = parse_run_file(description, host)
        if file is None or not is_plain(run_id):
            return None
        if path.exists():
            return cls.open(path, host)
        with creating_directory(path) as staged:
            create_parts(staged)
            write_atomic(staged / "run.json", msgspec.json.encode(file))
        return cls(Run(path, file))

    @classmethod
    def open(cls, path: Path, host: str) -> RunMirror | None:
        """The mirror in `path`; None if there is none of a run of `host`."""
        try:
            run = Run.open(path)
        except InvalidRunError:
            return None
        return cls(run) if run.host == host else None

    @property
    def files(self) -> dict[str, Mirrored]:
        """What it has of the files that only grow."""
        return mirrored_files(self.run.path)

    @property
    def exists(self) -> bool:
        return self.run.path.is_dir()

    # -- from the host --------------------------------------------------------------------------------------------

    def describe(self, description: bytes) -> None:
        """Take over a changed run.json."""
        file = parse_run_file(description, self.run.host)
        if file is not None and file != self.run.file:
            self.run.file = file
            write_atomic(self.run.path / "run.json", msgspec.json.encode(file))

    def append(self, message: Appended) -> None:
        """Take over new bytes of a file."""
        if message.name in MIRRORED:
            write_at(self.run.path / message.name, message.offset, message.data)
            self._unwritten |= message.name == "journal.jsonl"

    def set_processes(self, processes: RunProcesses) -> None:
        """Hold the locks that the processes of the run hold on the host, and keep its state there."""
        # first: a run that waits is queued, not starting
        write_remote_state(self.run.path, _plausible(processes.state))
        for name, alive in (("supervisor.lock", processes.supervisor), ("writer.lock", processes.worker)):
            if alive and name not in self._locks:
                lock = Lock.acquire(self.run.path / name)
                if lock:
                    self._locks[name] = lock
            elif not alive and name in self._locks:
                self._locks.pop(name).release()
        settled = time.monotonic() > self._pause_sent + PAUSE_DELAY
        if processes.paused != self._paused and settled:
            self._paused = processes.paused
            pause = self.run.control / PAUSE
            if self._paused:
                write_atomic(pause, b"", durable=False)
            else:
                pause.unlink(missing_ok=True)

    def disconnect(self) -> None:
        """Write what was absorbed, and release the locks: the state of the run is unknown."""
        with contextlib.suppress(OSError):
            self.write_snapshots(last=True)
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()

    def write_snapshots(self, *, last: bool = False) -> None:
        """Absorb what is new in the journal, and write status.json and, less often or at the `last`, curves.json."""
        if not self._unwritten and not (last and self._snapshots):
            return
        self._unwritten = False
        if self._snapshots is None:
            self._snapshots = (*self.run.load_summary(), *self.run.load_curves())
        summary, summary_reader, curves, curves_reader = self._snapshots
        for event in summary_reader.iter_events():
            summary.absorb(event)
        for event in curves_reader.iter_events():
            curves.absorb(event)
        write_snapshot(self.run.path / "status.json", summary, self.run.journal, summary_reader.offset)
        now = time.monotonic()
        if last or now >= self._curves_at:
            self._curves_at = now + CURVES_EVERY
            write_snapshot(self.run.path / "curves.json", curves, self.run.journal, curves_reader.offset)
        if not self._locks:  # the run has ended: what it has absorbed can be read again
            write_snapshot(self.run.path / "curves.json", curves, self.run.journal, curves_reader.offset)
            self._snapshots = None

    def add_checkpoint_file(self, message: CheckpointFile) -> None:
        """Take over bytes of a checkpoint that was asked for."""
        parts = message.name.split("/")
        if is_plain(message.checkpoint) and all(map(is_plain, parts)):
            path = self._staged(message.checkpoint).joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_at(path, message.offset, message.data)

    def finish_checkpoint(self, message: CheckpointSent) -> None:
        """Publish a checkpoint that has arrived whole."""
        if not is_plain(message.checkpoint):
            self.fail("the host sent a checkpoint without a name")
            return
        staged, final = self._staged(message.checkpoint), self.run.checkpoints / message.checkpoint
        try:
            Artifact.open(staged, verify=True)
        except DamagedError as error:
            remove_tree(staged)
            self.fail(error.sentence())
            return
        if final.exists():
            remove_tree(staged)
        else:
            staged.rename(final)
        write_answer(self.run, Answer(checkpoint=message.checkpoint))

    def _staged(self, checkpoint: str) -> Path:
        return self.run.checkpoints / f".{checkpoint}.fetched"

    def fail(self, why: str) -> None:
        """Write that a request has failed, for what waits for its answer."""
        write_answer(self.run, Answer(error=why))

    # -- to the host ----------------------------------------------------------------------------------------------

    def requests(self) -> Iterator[ToHost]:
        """The requests in the control directory, each once."""
        run = self.run.id
        paused = self.run.pause_requested
        if paused != self._paused:
            self._paused, self._pause_sent = paused, time.monotonic()
            yield PutRequest(run, PAUSE, b"") if paused else RemoveRequest(run, PAUSE)
        for path in sorted(self.run.control.glob("[!.]*")):
            name = path.name
            if name == PAUSE:
                continue
            if name == RESUME:
                yield StartRun(run)
            elif name.startswith(FETCH):
                yield FetchCheckpoint(run, name.removeprefix(FETCH))
            else:
                yield PutRequest(run, name, path.read_bytes())
            path.unlink(missing_ok=True)


def _plausible(state: RemoteState) -> RemoteState:
    """`state` without what no host of ours says: screens format these numbers, and list these checkpoints."""
    kept = [
        known
        for known in state.checkpoints[-MAX_CHECKPOINTS:]
        if 0 <= known.step < 10**12
        and 0 <= known.made_at < 2**33
        and all(0 <= value < 1e6 for value in (known.slice_loss, known.bits_per_byte) if value is not None)
    ]
    return RemoteState(queue_place=max(0, min(state.queue_place, 9999)), checkpoints=tuple(kept))


def parse_run_file(description: bytes, host: str) -> RunFile | None:
    """The run.json of a mirror; None if this version cannot read it."""
    try:
        file = parse_json(description, RunFile)
    except ParseError:
        return None
    return msgspec.structs.replace(file, host=host) if file.schema <= SCHEMA else None
