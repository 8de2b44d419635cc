"""The directory of a run: its files, its creation, and its state.

    run.json            the resolved recipe; changes only between two attempts, see `core.runs.recipe_change`
    launches.jsonl      each launch of a worker and how it ended, written by the supervisor
    supervisor.lock     held by the supervisor while it lives
    writer.lock         held by the worker while it lives
    journal.jsonl       every event, written by the worker
    status.json         the summary of the journal, written by the worker twice a second
    curves.json         the curves and events of the journal, written by the worker every ten seconds
    log.txt             output of the worker and its libraries
    control/            requests: stop, pause, checkpoint, learning-rate.json, sample-*.json
    checkpoints/        step-00000500/: artifacts
    samples/            the texts of the last stage: an artifact
    transcripts/        chats with each checkpoint, see `core.runs.transcript`
    annotations.json    the user's tags and notes, see `core.runs.annotations`
    answer.json         of the mirror of a run of another machine, see `core.runs.control`
    remote.json         of such a mirror: place in the queue there, checkpoints; see `core.runs.remote_state`

The state is computed from locks and journals, never stored.
"""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from core.errors import DiskError
from core.events import AttemptEnded, AttemptStarted
from core.parsing import ParseError, read_json
from core.recipe.schema import Recipe
from core.run_names import new_id
from core.runs.curves import Curves
from core.runs.deletion import bytes_in, remove_directory
from core.runs.errors import RemoteRunError, RunActiveError
from core.runs.journal_snapshot import read_snapshot
from core.runs.launches import Exited, Launched, read_launches
from core.runs.remote_state import read_remote_state
from core.runs.run_file import Parent, RunFile, StudyTrial, read_run_file
from core.runs.summary import Summary
from core.storage.files import creating_directory, write_atomic
from core.storage.journal import JournalReader, read_backwards
from core.storage.locks import Lock, holder
from core.storage.workspace import Workspace, check_name

SnapshotT = TypeVar("SnapshotT", Summary, Curves)

DIRECTORY_GONE = "its directory was deleted, moved or replaced"
"""Why a worker exits that can no longer receive requests."""

UNREADABLE = "unreadable"
"""Shown in place of the state of a run that cannot be read."""

QUICK_READ_BYTES = 2**23
"""Size of a journal that is read in a fraction of a second."""


class RunState(enum.Enum):
    """What a run is doing. The value is the word shown to the user."""

    CREATED = "not started"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    UNREACHABLE = "unreachable"
    """Of a mirror: what the run does is not known."""

    @property
    def is_active(self) -> bool:
        """Whether it has a process."""
        return self in (RunState.QUEUED, RunState.STARTING, RunState.RUNNING, RunState.PAUSED)


def create_parts(directory: Path) -> None:
    """Create the locks and the directories that every run has from its start. Raises OSError."""
    for part in ("control", "checkpoints"):
        (directory / part).mkdir(mode=0o700)
    for lock in ("supervisor.lock", "writer.lock"):
        (directory / lock).touch(0o600)


def queue_entry(run_directory: Path) -> Path:
    """The file that exists while the run waits for a device, see `core.runs.queue`."""
    return run_directory.parent.parent / "queue" / "waiting" / run_directory.name


def connection_lock(run_directory: Path, host: str) -> Path:
    """The file that is locked while the mirrors of the runs of `host` are up to date, see `core.remote.hosts`."""
    return run_directory.parent.parent / "hosts" / host / "connection.lock"


class Run:
    """A run directory. The object holds no state of the run, only its recipe."""

    def __init__(self, path: Path, file: RunFile) -> None:
        self.path, self.file = path, file

    # -- creation -------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        workspace: Workspace,
        recipe: Recipe,
        processes: int = 1,
        *,
        parent: Parent | None = None,
        study: StudyTrial | None = None,
        stop_at: float = 1.0,
        target: str = "",
        nodes: int = 1,
        add_checkpoint: Callable[[Path], None] | None = None,
    ) -> Run:
        """Create a run for `recipe`, to be trained by `processes` processes, without starting it.

        stop_at, target, nodes: see `RunFile`. add_checkpoint: puts the checkpoint of `parent` into the directory of the
        run's checkpoints. Raises InvalidNameError, DiskError; InitError if the local weights named by `model.init` do
        not fit.
        """
        check_name(recipe.name)
        if add_checkpoint is None:
            from core.init.check import find_weights  # needed by no reader of runs, and slow to import

            find_weights(recipe, workspace)
        now = time.time()
        path = workspace.runs / new_id(recipe.name, now)
        file = RunFile(
            recipe=recipe,
            made_at=now,
            processes=processes,
            target=target,
            nodes=nodes,
            parent=parent,
            study=study,
            stop_at=stop_at,
        )
        try:
            with creating_directory(path) as staged:
                create_parts(staged)
                if add_checkpoint is not None:
                    add_checkpoint(staged / "checkpoints")
                write_atomic(staged / "run.json", _formatted(file))
        except OSError as error:
            raise DiskError.from_oserror(error, path) from None
        return cls(path, file)

    @classmethod
    def open(cls, path: Path) -> Run:
        """The run in `path`. Raises InvalidRunError."""
        return cls(path, read_run_file(path))

    def rewrite(self, recipe: Recipe, processes: int, *, target: str | None = None, nodes: int | None = None) -> None:
        """Set recipe and number of processes of the next attempt, and where it is trained, see `RunFile`.

        target, nodes: None: as before. Raises RunActiveError, RemoteRunError, DiskError.
        """
        self.require_local()
        target = self.file.target if target is None else target
        nodes = nodes or self.file.nodes
        self._replace(
            msgspec.structs.replace(self.file, recipe=recipe, processes=processes, target=target, nodes=nodes)
        )

    def train_until(self, share: float) -> None:
        """Set the share of the training after which the next attempt stops. Raises RunActiveError, DiskError."""
        self._replace(msgspec.structs.replace(self.file, stop_at=share))

    def _replace(self, file: RunFile) -> None:
        """Replace run.json. Raises RunActiveError, DiskError."""
        try:
            lock = None if self.writer() is not None else Lock.acquire(self.path / "supervisor.lock")
        except OSError as error:
            raise DiskError.from_oserror(error, self.path, kept="its recipe is as it was") from None
        if lock is None:
            raise RunActiveError(f"{self.id} is running", todo=f"stop it first: llmtui stop {self.id}")
        with lock:
            try:
                write_atomic(self.path / "run.json", _formatted(file))
            except OSError as error:
                raise DiskError.from_oserror(error, self.path, kept="its recipe is as it was") from None
        self.file = file

    # -- contents -------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def recipe(self) -> Recipe:
        return self.file.recipe

    @property
    def processes(self) -> int:
        return self.file.processes

    @property
    def parent(self) -> Parent | None:
        return self.file.parent

    @property
    def host(self) -> str:
        """Of the mirror of a run of another machine: the name of that host; empty for a run of this machine."""
        return self.file.host

    @property
    def made_at(self) -> float:
        return self.file.made_at

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def supervisor(self) -> int | None:
        """Pid of the running supervisor, or `ELSEWHERE` if it has none on this machine; None: not running."""
        return holder(f"{self.path}/supervisor.lock")

    def writer(self) -> int | None:
        """Pid of the running worker, or `ELSEWHERE` if it has none on this machine; None: not running."""
        return holder(f"{self.path}/writer.lock")

    def summary(self) -> Summary:
        """The summary in status.json, at most half a second old; an empty one before there is any.

        If the file is damaged or gone, the journal is read instead, unless it is larger than `QUICK_READ_BYTES`.
        """
        with contextlib.suppress(ParseError, OSError):
            return read_json(self.path / "status.json", Summary)
        summary = Summary()
        with contextlib.suppress(OSError):
            if self.journal.stat().st_size <= QUICK_READ_BYTES:
                for event in JournalReader(self.journal).iter_events():
                    summary.absorb(event)
        return summary

    def load_summary(self) -> tuple[Summary, JournalReader]:
        """The summary in status.json, and a reader of the events after it, for the caller to absorb.

        If the file cannot be used, an empty summary and a reader of the whole journal.
        """
        return self._load_snapshot("status.json", Summary)

    def load_curves(self) -> tuple[Curves, JournalReader]:
        """Like `load_summary`, for the curves in curves.json; up to ten seconds of events come after it."""
        return self._load_snapshot("curves.json", Curves)

    def curves(self) -> Curves:
        """The curves up to the last event of the journal."""
        curves, reader = self.load_curves()
        for event in reader.iter_events():
            curves.absorb(event)
        return curves

    def _load_snapshot(self, name: str, kind: type[SnapshotT]) -> tuple[SnapshotT, JournalReader]:
        with contextlib.suppress(OSError):
            found = read_snapshot(self.path / name, kind, self.journal)
            if found:
                return found[0], JournalReader(self.journal, found[1])
        return kind(), JournalReader(self.journal)

    def launches(self) -> list[Launched | Exited]:
        """The supervisor's records, oldest first."""
        return read_launches(self.path / "launches.jsonl")

    def end_event(self, summary: Summary | None = None) -> AttemptEnded | None:
        """The last event of the newest attempt; None if it is running or died without one.

        summary: its summary, where known: if that covers the whole journal, which is then not read.
        """
        attempt = max((record.attempt for record in self.launches()), default=0)
        if summary and self._is_whole(summary):
            return summary.ended if summary.ended and summary.ended.attempt >= attempt else None
        for event in read_backwards(self.journal):  # a reading of the hardware may follow it
            if isinstance(event, AttemptEnded):
                return event if event.attempt >= attempt else None
            if isinstance(event, AttemptStarted):
                return None
        return None

    def _is_whole(self, summary: Summary) -> bool:
        try:
            return summary.journal_offset is not None and summary.journal_offset.offset == self.journal.stat().st_size
        except OSError:
            return False

    def exit_record(self) -> Exited | None:
        """The supervisor's record of how the newest attempt exited; None if there is none."""
        records = self.launches()
        return records[-1] if records and isinstance(records[-1], Exited) else None

    def state(self, summary: Summary | None = None) -> RunState:
        """What the run is doing, by its locks first and its records second. summary: as `end_event` takes it."""
        supervisor, writer = self.supervisor(), self.writer()
        if writer is not None:
            return RunState.PAUSED if self.pause_requested else RunState.RUNNING
        if supervisor is not None:
            return RunState.QUEUED if self._waits else RunState.STARTING
        ended = self.end_event(summary)
        if ended:
            return RunState(ended.outcome)
        records = self.launches()
        if not records:
            return RunState.CREATED
        last = records[-1]
        if self.host and holder(connection_lock(self.path, self.host)) is None:
            return RunState.UNREACHABLE
        return RunState.FAILED if isinstance(last, Exited) and last.gave_up else RunState.INTERRUPTED

    def is_ending(self, state: RunState) -> bool:
        """Whether the run, which is in `state`, has written its last event while its processes still exist."""
        if state is RunState.QUEUED or not state.is_active:
            return False
        # after the record of its exit only the supervisor of the next attempt can be there
        return (state is not RunState.STARTING or self.exit_record() is None) and self.end_event() is not None

    @property
    def _waits(self) -> bool:
        """Whether it waits for a device, on its own machine."""
        return bool(read_remote_state(self.path).queue_place) if self.host else queue_entry(self.path).exists()

    @property
    def pause_requested(self) -> bool:
        return (self.control / "pause").exists()

    def require_local(self) -> None:
        """Raise RemoteRunError for the mirror of a run of another machine."""
        if self.host:
            raise RemoteRunError(
                f"{self.id} is on {self.host}", todo=f"do it there; `llmtui hosts show {self.host}` says how"
            )

    def bytes(self) -> int:
        """Size on disk."""
        return bytes_in(self.path)

    def remove(self) -> None:
        """Delete the run. Raises RunActiveError, DiskError."""
        remove_directory(self.path)


def _formatted(file: RunFile) -> bytes:
    return msgspec.json.format(msgspec.json.encode(file), indent=1)
