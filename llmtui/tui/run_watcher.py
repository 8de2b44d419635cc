"""The one clock: what is new in the run directories, read off the event loop and posted to the screens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from textual.message import Message

from core.runs.directory import InvalidRunError, Run, State, run_names
from core.runs.failure import failure
from core.runs.summary import Summary
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from llmtui.view.history import History
from llmtui.view.run_snapshot import RunSnapshot

STALLED_AFTER = 60.0
"""Seconds without a new event after which a living run is called stalled."""

AT_ONCE, ROUND = 8, 10
"""Runs at which nobody works are looked at in turn: so many a tick at least, and all of them within so many ticks. Each
look costs a dozen calls to the system; 500 runs at every tick cost an idle workbench 13 to 15 % of a core."""

CHUNK = 2**20
"""Bytes of journal folded at once, so that keys still work while a long one is read."""


class Looked(Message):
    """A tick: the runs were looked at, and what is new in the followed journal was read."""

    def __init__(self, glances: list[RunSnapshot]) -> None:
        super().__init__()
        self.glances = glances

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Looked)


class Grown(Message):
    """Another run is followed, or some more of its long journal has been read."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self.history = history

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Grown)


class Follower:
    """Looks at every run each tick and reads the journal of one. All its state belongs to the event loop."""

    def __init__(self, workspace: Workspace, tell: Callable[[Message], None], period: float) -> None:
        self._workspace, self._tell = workspace, tell
        self.period = period
        """Seconds between ticks."""
        self.glances: list[RunSnapshot] = []
        self.history: History | None = None
        self._tail: JournalReader | None = None
        self._wake = asyncio.Event()
        self._known: dict[str, tuple[object, RunSnapshot]] = {}
        self._added = self._turn = 0
        self._wanted = True
        """Whether the next look is to pass over no run."""
        self.broken: list[InvalidRunError] = []
        """Run directories that cannot be read."""
        self._news: dict[str, tuple[int, float]] = {}

    def follow(self, run: Run) -> None:
        """Read the journal of `run` from now on."""
        if self.history is None or self.history.run.id != run.id:
            self.history, self._tail = History(run), None
            self._tell(Grown(self.history))
            self.wake()

    def add(self, run: Run) -> None:
        """Show `run`, which was made just now, at once, and not only when the disk is looked at again."""
        others = (glance for glance in self.glances if glance.run.id != run.id)
        glances = [RunSnapshot(run, State.CREATED, Summary(), None, 0.0, 0.0), *others]
        self.glances = sorted(glances, key=lambda glance: glance.run.id, reverse=True)
        self._added += 1

    def wake(self) -> None:
        """Do not wait for the next tick, and look at every run then: something was asked for."""
        self._wanted = True
        self._wake.set()

    async def watch(self, congested: Callable[[], bool]) -> None:
        """Tick until cancelled. congested: whether the terminal is behind, which makes a tick pass without news."""
        while True:
            started = time.monotonic()
            self._wake.clear()
            if not congested():
                await self.look()
                await self._read()
                self._tell(Looked(self.glances))
            rest = self.period - (time.monotonic() - started)
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.02, rest))
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Look at every run that may have news, and in turn at some of those at which nobody works."""
        while True:
            added = self._added
            glances = await asyncio.to_thread(self._look)
            if added == self._added:  # else a run was made meanwhile, which this look may not have seen
                self.glances = glances
                return

    async def _read(self) -> None:
        while history := self.history:
            if self._tail is None:
                curves, tail = await asyncio.to_thread(history.run.curves)
                if history is self.history:
                    history.curves, self._tail = curves, tail
                continue
            events = await asyncio.to_thread(self._tail.events, CHUNK)
            if history is not self.history:
                continue  # another run was opened while this one was being read
            history.absorb(events)
            if not events:
                history.caught_up = True
                return
            if not history.caught_up:
                self._tell(Grown(history))

    def _look(self) -> list[RunSnapshot]:
        try:
            names = run_names(self._workspace)
        except OSError:
            names = []
        self._known = {name: self._known[name] for name in names if name in self._known}
        resting = self._resting()
        glances: list[RunSnapshot] = []
        broken: list[InvalidRunError] = []
        for name in names:
            path = self._workspace.runs / name
            try:
                glances.append(self._known[name][1] if name in resting else self._glance_at(path))
            except InvalidRunError as trouble:
                broken.append(trouble)
            except OSError as error:
                broken.append(InvalidRunError.of(error, path))
        self.broken = [trouble for trouble in broken if trouble.path.is_dir()]  # else deleted while we looked
        return glances

    def _resting(self) -> set[str]:
        """The runs that are passed over this time: most of those at which nobody works, unless all are wanted."""
        wanted, self._wanted = self._wanted, False
        followed = self.history.run.id if self.history else ""
        over = [name for name, (_, known) in self._known.items() if not known.state.alive and name != followed]
        if wanted or not over:
            return set()
        share = max(AT_ONCE, -(-len(over) // ROUND))
        turn = self._turn % len(over)
        self._turn = turn + share
        return set(over) - set((over * 2)[turn : turn + share])

    def _glance_at(self, path: Path) -> RunSnapshot:
        name = path.name
        key, known = self._known.get(name, (None, None))
        run = known.run if known else Run.open(path)
        now = _marks(run)
        if known is None or key != now:
            run = Run.open(run.path)  # `resume --set` changes the recipe
            state, summary = run.state(), run.summary()
            over = None if state.alive else run.last_word() or run.crash()
            over_at = over.at if over else 0.0
            ending = summary.ended is not None and run.is_ending(state)
            known = RunSnapshot(run, state, summary, failure(run, state), over_at, 0.0, ending)
            self._known[name] = (now, known)
        return known._replace(silent=self._silence(known))

    def _silence(self, glance: RunSnapshot) -> float:
        now, events = time.monotonic(), glance.summary.events
        seen, since = self._news.get(glance.run.id, (-1, now))
        if seen != events or glance.state is not State.RUNNING:
            self._news[glance.run.id] = (events, now)
            return 0.0
        return now - since if now - since > STALLED_AFTER else 0.0


def _marks(run: Run) -> tuple[object, ...]:
    """What changes whenever the run's state or summary may have changed; cheaper than working those out."""
    if not run.path.is_dir():
        raise InvalidRunError("it is gone", path=run.path)
    sizes = []
    for name in ("journal.jsonl", "launches.jsonl", "status.json", "run.json"):
        try:
            status = (run.path / name).stat()
            sizes.append((status.st_size, status.st_mtime_ns))
        except FileNotFoundError:
            sizes.append((0, 0))
    alive = (run.supervisor(), run.writer())
    # a living run's journal grows all the time; its summary is what lists show
    return (*alive, run.pause_requested, sizes[1:] if all(alive) else sizes)
