"""Polls the run directories off the event loop and posts what is new to the screens."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from core.run_names import run_ids
from core.runs.annotations import FILE as ANNOTATIONS_FILE
from core.runs.directory import Run, RunState, queue_entry
from core.runs.errors import InvalidRunError
from core.runs.queue import waiting
from core.runs.remote_state import FILE as REMOTE_FILE
from core.runs.stall import Stall, find_stall
from core.runs.summary import Summary
from core.storage.journal import JournalReader
from core.storage.locks import holder
from core.storage.workspace import Workspace
from llmtui.tui.measurements import Measurements
from llmtui.view.run_snapshot import RunSnapshot, journal_age, take_snapshot

if TYPE_CHECKING:
    from llmtui.view.history import History

SEEN_SECONDS = 5.0
"""Seconds without a new event before its eyes after which a run can be stalled: a machine that slept has old files."""

MIN_INACTIVE_PER_TICK, TICKS_PER_ROUND = 8, 10
"""Inactive runs are read in turn: at least so many in a tick, and all of them within so many ticks. Reading one takes
a dozen system calls; 500 runs at every tick cost an idle workbench 13 to 15 % of a core."""

FIRST_RUNS = 200
"""Of more runs than this the newest are read first, so that the first frame does not wait for the others."""

CHUNK_BYTES = 2**20
"""Bytes of journal read at once, so that keys still work while a long journal is read."""


class RunsUpdated(Message):
    """Posted at each tick: the snapshots are new, and so is what the followed run has written since."""

    def __init__(self, snapshots: list[RunSnapshot]) -> None:
        super().__init__()
        self.snapshots = snapshots

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsUpdated)


class HistoryUpdated(Message):
    """Posted when another run is followed, and after each chunk of its journal."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self.history = history

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, HistoryUpdated)


class FollowedRun:
    """The history of a run and the place in its journal up to which it has been read."""

    def __init__(self, run: Run) -> None:
        from llmtui.view.history import History  # Home needs none, and it is slow to import

        self.history = History(run)
        self._tail: JournalReader | None = None

    async def read(self, wanted: Callable[[], bool], on_chunk: Callable[[History], None]) -> None:
        """Read the journal to its end, a chunk at a time, while it is `wanted`.

        on_chunk: called after each chunk of the first time.
        """
        history = self.history
        tail = self._tail or await self._open()
        while wanted():
            events = await asyncio.to_thread(tail.events, CHUNK_BYTES)
            history.absorb(events)
            if not events:
                history.caught_up = True
                return
            if not history.caught_up:
                on_chunk(history)

    async def _open(self) -> JournalReader:
        self.history.curves, tail = await asyncio.to_thread(self.history.run.load_curves)
        self._tail = tail
        return tail


class RunWatcher:
    """Keeps a snapshot of every run and the history of the followed one. Its state belongs to the event loop."""

    def __init__(
        self, workspace: Workspace, post: Callable[[Message], None], period: float, smoothing: float = 0.9
    ) -> None:
        """
        post: receives `RunsUpdated` and `HistoryUpdated`. period: seconds between ticks.
        smoothing: of the training losses in the snapshots, see `llmtui.view.run_snapshot.measure`.
        """
        self._workspace, self._post = workspace, post
        self._measurements = Measurements(smoothing)
        self.period = period
        """Seconds between ticks."""
        self.snapshots: list[RunSnapshot] = []
        """Newest run first."""
        self.unreadable: list[InvalidRunError] = []
        """Run directories that cannot be read."""
        self._followed: FollowedRun | None = None
        self._overlays: dict[str, FollowedRun] = {}
        """By run id."""
        self._wake = asyncio.Event()
        self._cache: dict[str, tuple[object, RunSnapshot]] = {}
        """By directory name, the `_change_key` of a run and its snapshot then."""
        self._added = 0
        """Number of calls of `add`."""
        self._next_inactive = 0
        """Where the next turn of inactive runs begins."""
        self._refresh_all = True
        self._last_event: dict[str, tuple[int, float]] = {}
        """By run id, the number of its events and when it was first seen (`time.monotonic`)."""

    @property
    def history(self) -> History | None:
        """Of the followed run."""
        return self._followed.history if self._followed else None

    def follow(self, run: Run) -> None:
        """Read the journal of `run` from now on."""
        if self.history is None or self.history.run.id != run.id:
            self._followed = FollowedRun(run)
            self._post(HistoryUpdated(self._followed.history))
            self.wake()

    def overlay(self, runs: Iterable[Run]) -> list[History]:
        """Read the journals of `runs`, too, from now on, and of no others; returns their histories."""
        overlays = {run.id: self._overlays.get(run.id) or FollowedRun(run) for run in runs}
        if overlays.keys() - self._overlays.keys():
            self.wake()
        self._overlays = overlays
        return [followed.history for followed in overlays.values()]

    def add(self, run: Run) -> None:
        """Add a snapshot of `run`, which was just created, without waiting for the next tick."""
        others = (snapshot for snapshot in self.snapshots if snapshot.run.id != run.id)
        snapshots = [RunSnapshot(run, RunState.CREATED, Summary(), None, 0.0, None), *others]
        self.snapshots = sorted(snapshots, key=lambda snapshot: snapshot.run.id, reverse=True)
        self._added += 1

    def wake(self) -> None:
        """Tick now, and read every run: something was just changed."""
        self._refresh_all = True
        self._wake.set()

    async def watch(self, output_waiting: Callable[[], bool]) -> None:
        """Tick until cancelled. output_waiting: whether the terminal lags behind; such a tick does nothing."""
        while True:
            started = time.monotonic()
            self._wake.clear()
            if not output_waiting():
                await self.refresh()
                await self._read_journals()
                self._post(RunsUpdated(self.snapshots))
                await asyncio.to_thread(self._measurements.update, self.snapshots)
            rest = self.period - (time.monotonic() - started)
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.02, rest))
            except TimeoutError:
                continue

    async def refresh(self) -> None:
        """Take new snapshots: of every active run, and of some of the inactive ones in turn."""
        while True:
            added = self._added
            snapshots = await asyncio.to_thread(self._read_runs)
            if added == self._added:  # else a run was created meanwhile, which may be missing here
                self.snapshots = self._measurements.added_to(snapshots)
                return

    async def _read_journals(self) -> None:
        followed = None
        while followed is not self._followed:  # else another run was selected while this one was read
            followed = self._followed
            if followed:
                await followed.read(partial(self._is_wanted, followed), self._post_history)
        for name, other in list(self._overlays.items()):
            active = self._cache[name][1].state.is_active if name in self._cache else False
            if active or not other.history.caught_up:
                await other.read(partial(self._is_wanted, other), lambda _: None)

    def _is_wanted(self, run: FollowedRun) -> bool:
        return run is self._followed or run in self._overlays.values()

    def _post_history(self, history: History) -> None:
        self._post(HistoryUpdated(history))

    def _read_runs(self) -> list[RunSnapshot]:
        try:
            names = run_ids(self._workspace)
        except OSError:
            names = []
        if not self._cache:
            names = names[:FIRST_RUNS]
        self._cache = {name: self._cache[name] for name in names if name in self._cache}
        skipped = self._skipped()
        snapshots: list[RunSnapshot] = []
        unreadable: list[InvalidRunError] = []
        for name in names:
            path = self._workspace.runs / name
            try:
                snapshots.append(self._cache[name][1] if name in skipped else self._snapshot_of(path))
            except InvalidRunError as error:
                unreadable.append(error)
            except OSError as error:
                unreadable.append(InvalidRunError.of(error, path))
        places = {entry.run_id: place for place, entry in enumerate(waiting(self._workspace.runs), 1)}
        for number, snapshot in enumerate(snapshots):
            place = snapshot.queue_place if snapshot.run.host else places.get(snapshot.run.id, 0)
            if place != snapshot.queue_place:
                snapshots[number] = snapshot._replace(queue_place=place)
        self.unreadable = [error for error in unreadable if error.path.is_dir()]  # else deleted meanwhile
        return snapshots

    def _skipped(self) -> set[str]:
        """The inactive runs that keep their snapshot this time."""
        refresh_all, self._refresh_all = self._refresh_all, False
        followed = self.history.run.id if self.history else ""
        inactive = [name for name, (_, known) in self._cache.items() if not known.state.is_active and name != followed]
        if refresh_all or not inactive:
            return set()
        count = max(MIN_INACTIVE_PER_TICK, -(-len(inactive) // TICKS_PER_ROUND))
        start = self._next_inactive % len(inactive)
        self._next_inactive = start + count
        return set(inactive) - set((inactive * 2)[start : start + count])

    def _snapshot_of(self, path: Path) -> RunSnapshot:
        name = path.name
        key, known = self._cache.get(name, (None, None))
        current_key = _change_key(path)
        if known is None or key != current_key:
            known = take_snapshot(Run.open(path))
            self._cache[name] = (current_key, known)
        stall = self._stall(known)
        return known._replace(stall=stall) if stall != known.stall else known

    def _stall(self, snapshot: RunSnapshot) -> Stall | None:
        """Whether the run makes no progress, and no new event was seen for `SEEN_SECONDS`."""
        now, events = time.monotonic(), snapshot.summary.events
        seen, since = self._last_event.get(snapshot.run.id, (-1, now))
        if seen != events or snapshot.state is not RunState.RUNNING:
            self._last_event[snapshot.run.id] = (events, now)
            return None
        return find_stall(snapshot.summary, journal_age(snapshot.run)) if now - since > SEEN_SECONDS else None


def _change_key(run: Path) -> tuple[object, ...]:
    """Changes whenever the state or the summary of the run in that directory may have changed; cheaper than they are.

    Raises InvalidRunError if the directory was deleted.
    """
    sizes = []
    for name in ("journal.jsonl", "launches.jsonl", "status.json", "run.json", ANNOTATIONS_FILE, REMOTE_FILE):
        try:  # paths as text: making each a Path takes as long as asking for it
            status = os.stat(f"{run}/{name}")  # noqa: PTH116
            sizes.append((status.st_size, status.st_mtime_ns))
        except FileNotFoundError:
            sizes.append((0, 0))
    if not any(size for size, _ in sizes) and not run.is_dir():
        raise InvalidRunError("it is gone", path=run)
    supervisor, writer = holder(f"{run}/supervisor.lock"), holder(f"{run}/writer.lock")
    queued = supervisor is not None and queue_entry(run).exists()
    paused = writer is not None and (run / "control" / "pause").exists()
    # the journal of an active run grows all the time; lists show its summary, which is in status.json
    active = supervisor is not None and writer is not None
    return (supervisor, writer, queued, paused, sizes[1:] if active else sizes)
