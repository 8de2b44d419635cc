"""One run's directory: what is in it, how it comes to be, what state it is in.

    run.json            the resolved recipe; changes only between two attempts, see `core.runs.recipe_change`
    launches.jsonl      the supervisor's: each launch of a worker and how it ended
    supervisor.lock     held by the supervisor while it lives
    writer.lock         held by the worker while it lives
    journal.jsonl       the worker's: every event
    status.json         the worker's: the summary of the journal, replaced about once a second
    curves.json         the worker's: the curves and events of the journal, replaced every ten seconds
    log.txt             what worker and libraries print, for the curious
    control/            requests: stop, pause, checkpoint, sample-*.json
    checkpoints/        step-00000500/: artifacts
    samples/            what the last stage drew: an artifact
    transcripts/        what was said to each checkpoint, see `core.runs.transcript`

The state is computed from locks and journals, never stored.
"""

from __future__ import annotations

import contextlib
import datetime
import enum
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from core import __version__
from core.errors import BusyError, DiskError, LlmtuiError, UsageError, did_you_mean
from core.events import AttemptEnded, AttemptStarted
from core.init.check import find_weights
from core.parsing import ParseError, parse, parse_json, read_json
from core.recipe.schema import Recipe
from core.runs.curves import Curves
from core.runs.journal_offset import read_sealed
from core.runs.summary import Summary
from core.storage.files import fsync_directory, remove_tree, write_atomic
from core.storage.journal import JournalReader, read_backwards
from core.storage.locks import Lock, holder
from core.storage.workspace import Workspace, check_name

SCHEMA = 1

Folded = TypeVar("Folded", Summary, Curves)

GONE = "its directory was deleted, moved or replaced"
"""Why a worker ends that nobody could reach any more."""


UNREADABLE = "unreadable"
"""The word for a run that cannot be read, where that of its state stands otherwise."""


SOON_READ = 2**23
"""Bytes of a journal that are read in a fraction of a second."""


class RunNotFoundError(UsageError):
    doing = "find the run"


class InvalidRunError(LlmtuiError):
    """A run directory that cannot be read. path, run: where it lies, and its name."""

    doing = "read the run"

    def __init__(self, what: str, *, path: Path, todo: str = "") -> None:
        todo = todo or f"`llmtui rm {path.name}` deletes it with all that is in it"
        super().__init__(what, where=str(path), todo=todo)
        self.path, self.run = path, path.name

    @classmethod
    def of(cls, error: OSError, path: Path) -> InvalidRunError:
        """The run in `path` cannot be looked at because of `error`."""
        return cls((error.strerror or str(error)).lower(), path=path, todo="`llmtui doctor` looks at the file system")


class RunActiveError(BusyError):
    doing = "do that to a running run"


class Launched(Struct, frozen=True, kw_only=True, tag=True):
    """The supervisor started a worker."""

    attempt: int
    at: float = msgspec.field(default_factory=time.time)


class Exited(Struct, frozen=True, kw_only=True, tag=True):
    """A worker came to its end, by its own exit code or a signal (negative)."""

    attempt: int
    code: int
    reason: str = ""
    """The line of the log that gives one, of a worker that had no last word."""
    out_of_memory: bool = False
    gave_up: bool = False
    """The supervisor will not try again by itself."""
    at: float = msgspec.field(default_factory=time.time)


_launch_decoder: msgspec.json.Decoder[Launched | Exited] = msgspec.json.Decoder(Launched | Exited)


class RunFile(Struct, frozen=True, kw_only=True):
    """run.json: what the run was asked to build."""

    schema: int = SCHEMA
    recipe: Recipe
    made_at: float
    processes: int = 1
    """That train it together."""
    version: str = __version__


class State(enum.Enum):
    """What a run is doing. The value is the word a person reads."""

    CREATED = "not started"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def alive(self) -> bool:
        return self in (State.STARTING, State.RUNNING, State.PAUSED)


class Run:
    """A run directory, to look at and to steer. Holds no state of its own."""

    def __init__(self, path: Path, file: RunFile) -> None:
        self.path, self.file = path, file

    # -- coming to be ---------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, workspace: Workspace, recipe: Recipe, processes: int = 1) -> Run:
        """A new run for `recipe`, not started yet, trained by `processes` together.

        Raises InvalidNameError, DiskError; InitError where the weights it is to begin with are here and cannot be
        begun with.
        """
        check_name(recipe.name)
        find_weights(recipe, workspace)
        now = time.time()
        stamp = datetime.datetime.fromtimestamp(now).strftime("%Y%m%d-%H%M%S")
        path = workspace.runs / f"{stamp}-{recipe.name}-{secrets.token_hex(2)}"
        staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        file = RunFile(recipe=recipe, made_at=now, processes=processes)
        try:
            staged.mkdir(mode=0o700)
            for part in ("control", "checkpoints"):
                (staged / part).mkdir(mode=0o700)
            for lock in ("supervisor.lock", "writer.lock"):
                (staged / lock).touch(0o600)
            write_atomic(staged / "run.json", _formatted(file))
            staged.rename(path)
            fsync_directory(workspace.runs)
        except OSError as error:
            with contextlib.suppress(OSError):
                remove_tree(staged)
            raise DiskError.from_oserror(error, path) from None
        return cls(path, file)

    @classmethod
    def open(cls, path: Path) -> Run:
        """The run in `path`. Raises InvalidRunError."""
        try:
            raw = (path / "run.json").read_bytes()
            try:
                file = parse_json(raw, RunFile)
            except ParseError:
                if parse_json(raw, _Schema).schema <= SCHEMA:
                    raise
                file = None
            if file is None or file.schema > SCHEMA:
                raise InvalidRunError("it was made by a newer version of llmtui", path=path, todo="update llmtui")
            return cls(path, file)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InvalidRunError(f"run.json cannot be read ({reason})", path=path) from None
        except ParseError as error:
            raise InvalidRunError(f"run.json cannot be read ({error})", path=path) from None

    def rewrite(self, recipe: Recipe, processes: int) -> None:
        """Let the next attempt follow `recipe`, by so many processes. Raises RunActiveError, DiskError."""
        try:
            lock = None if self.writer() is not None else Lock.acquire(self.path / "supervisor.lock")
        except OSError as error:
            raise DiskError.from_oserror(error, self.path, kept="its recipe is as it was") from None
        if lock is None:
            raise RunActiveError(f"{self.id} is running", todo=f"stop it first: llmtui stop {self.id}")
        with lock:
            file = msgspec.structs.replace(self.file, recipe=recipe, processes=processes)
            try:
                write_atomic(self.path / "run.json", _formatted(file))
            except OSError as error:
                raise DiskError.from_oserror(error, self.path, kept="its recipe is as it was") from None
        self.file = file

    # -- what it is -----------------------------------------------------------------------------------------------

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
        """Pid of the living supervisor, `ELSEWHERE` of one that has none here; None when there is none."""
        return holder(self.path / "supervisor.lock")

    def writer(self) -> int | None:
        """Pid of the living worker, `ELSEWHERE` of one that has none here; None when there is none."""
        return holder(self.path / "writer.lock")

    def summary(self) -> Summary:
        """The newest summary the worker left; an empty one before there is any. For live screens fold the journal.

        Where the file is damaged, that of the journal, unless reading it would take long.
        """
        summary = Summary()
        try:
            return read_json(self.path / "status.json", Summary)
        except ParseError:
            with contextlib.suppress(OSError):
                if self.journal.stat().st_size <= SOON_READ:
                    for event in JournalReader(self.journal).iter_events():
                        summary.absorb(event)
        except OSError:
            pass
        return summary

    def folded(self) -> tuple[Summary, JournalReader]:
        """What a part of the journal adds up to, and the rest of it, which is to be absorbed.

        That part is all that status.json speaks of, and then the rest is what came in half a second; nothing, where
        that is damaged, or of another journal, or older than the places in it.
        """
        return self._as_kept("status.json", Summary)

    def curves(self) -> tuple[Curves, JournalReader]:
        """The same for the eye, from curves.json; the rest is then what came in some seconds."""
        return self._as_kept("curves.json", Curves)

    def _as_kept(self, name: str, kind: type[Folded]) -> tuple[Folded, JournalReader]:
        with contextlib.suppress(OSError):
            found = read_sealed(self.path / name, kind, self.journal)
            if found:
                return found[0], JournalReader(self.journal, found[1])
        return kind(), JournalReader(self.journal)

    def launches(self) -> list[Launched | Exited]:
        """The supervisor's records, oldest first; unreadable lines are left out."""
        records = []
        for line in JournalReader(self.path / "launches.jsonl").lines():
            try:
                records.append(parse(_launch_decoder.decode, line))
            except ParseError:
                continue
        return records

    def last_word(self) -> AttemptEnded | None:
        """How the newest attempt ended by its own account; None when it never said."""
        attempt = max((record.attempt for record in self.launches()), default=0)
        for event in read_backwards(self.journal):  # something may stand behind it, such as a reading of the machine
            if isinstance(event, AttemptEnded):
                return event if event.attempt >= attempt else None
            if isinstance(event, AttemptStarted):
                return None
        return None

    def crash(self) -> Exited | None:
        """How the newest attempt died when it had no last word of its own."""
        records = self.launches()
        return records[-1] if records and isinstance(records[-1], Exited) else None

    def state(self) -> State:
        """What the run is doing, from the locks first and the records second."""
        supervisor, writer = self.supervisor(), self.writer()
        if writer is not None:
            return State.PAUSED if self.pause_requested else State.RUNNING
        if supervisor is not None:
            return State.STARTING
        ended = self.last_word()
        if ended:
            return State(ended.outcome)
        records = self.launches()
        if not records:
            return State.CREATED
        last = records[-1]
        return State.FAILED if isinstance(last, Exited) and last.gave_up else State.INTERRUPTED

    def is_ending(self, state: State) -> bool:
        """Whether a run in `state`, its own, has said its last word while its processes are still there."""
        return state.alive and self.last_word() is not None

    @property
    def pause_requested(self) -> bool:
        return (self.control / "pause").exists()

    def bytes(self) -> int:
        """Disk space it takes."""
        return bytes_in(self.path)

    def remove(self) -> None:
        """Delete the run. Raises RunActiveError while it lives, DiskError."""
        remove_directory(self.path)


def bytes_in(directory: Path) -> int:
    """Disk space that the files in `directory` take; those that go meanwhile are not counted."""
    total = 0
    for file in directory.rglob("*"):
        with contextlib.suppress(OSError):
            status = file.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def remove_directory(path: Path) -> None:
    """Delete the run in the directory `path`, readable or not. Raises RunActiveError while it lives, DiskError.

    Its locks are taken first: that, and not what a look at them says, keeps a run that somebody works on. Of a link
    nothing is deleted: what it leads to would stay, where nobody would look for it.
    """
    if path.is_symlink():
        raise DiskError(
            f"it is a link to {path.readlink()}",
            where=str(path),
            kept="nothing was deleted",
            todo="delete what it leads to, then the link, yourself",
        )
    with contextlib.ExitStack() as held:
        for name in ("supervisor.lock", "writer.lock"):
            try:
                lock = Lock.acquire(path / name)
            except OSError as error:
                raise DiskError.from_oserror(error, path, kept="nothing was deleted") from None
            if lock is None:
                raise RunActiveError(f"{path.name} is running", todo=f"stop it first: llmtui stop {path.name}")
            held.enter_context(lock)
        try:
            remove_tree(path)
        except OSError as error:
            raise DiskError.from_oserror(error, path, kept="nothing was deleted") from None


class _Schema(Struct):
    schema: int


def _formatted(file: RunFile) -> bytes:
    return msgspec.json.format(msgspec.json.encode(file), indent=1)


def all_runs(workspace: Workspace) -> list[Run]:
    """Every readable run, newest first."""
    return [run for run in look_through(workspace) if isinstance(run, Run)]


def run_names(workspace: Workspace) -> list[str]:
    """The names of all run directories, newest first."""
    try:
        with os.scandir(workspace.runs) as entries:
            names = (entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
            return sorted(names, reverse=True)
    except FileNotFoundError:
        return []


def look_through(workspace: Workspace) -> Iterator[Run | InvalidRunError]:
    """Every run directory, newest first: the run, or why it cannot be read."""
    for name in run_names(workspace):
        try:
            yield Run.open(workspace.runs / name)
        except InvalidRunError as trouble:
            yield trouble


def find_run(workspace: Workspace, wanted: str | None = None, among: list[Run] | None = None) -> Run:
    """The run that `wanted` names: an id, the start of one, or a name (the newest of that name); None: the newest.

    among: the runs it may be, newest first; all when not given. Raises RunNotFoundError with the nearest right name,
    and InvalidRunError where `wanted` is the id of one that cannot be read.
    """
    return find_runs(workspace, wanted, among)[0]


def find_runs(workspace: Workspace, wanted: str | None = None, among: list[Run] | None = None) -> list[Run]:
    """Every run that `wanted` may mean, as `find_run` takes it, newest first; at least one. Raises RunNotFoundError,
    InvalidRunError.

    Names are in lower case, and found in any.
    """
    if among is None and wanted is not None and wanted in run_names(workspace):
        return [Run.open(workspace.runs / wanted)]
    runs = all_runs(workspace) if among is None else among
    if not runs:
        raise RunNotFoundError("there are no runs yet", todo="start one: llmtui demo, or llmtui run PATH")
    if wanted is None:
        return runs
    if not wanted.strip():  # as a script's variable that is not set: every name begins with nothing
        raise RunNotFoundError("the name of the run is empty", todo="`llmtui ls` lists the runs")
    name = wanted.lower()
    found = [run for run in runs if run.id == name] or [run for run in runs if run.name == name]
    found = found or [run for run in runs if run.id.startswith(name) or run.name.startswith(name)]
    if len(found) > 1 and name not in (found[0].id, found[0].name):
        todo = "one of " + ", ".join(run.id for run in found[:5])
        raise RunNotFoundError(f"{wanted!r} fits {len(found)} runs", todo=todo)
    if not found:
        names = [name for run in runs for name in (run.name, run.id)]
        raise RunNotFoundError(
            f"there is no run {wanted!r}", todo=did_you_mean(name, names) or "`llmtui ls` lists them"
        )
    return found
