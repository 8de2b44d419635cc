"""What the worker of a run writes: its journal, status.json and curves.json."""

from __future__ import annotations

import contextlib
import time

from core.errors import ProcessKilledError
from core.events import AnyEvent, Event, decode, encode
from core.hardware import HardwareMonitor
from core.parsing import ParseError
from core.runs.directory import DIRECTORY_GONE, Run
from core.runs.journal_snapshot import write_snapshot
from core.storage.journal import JournalWriter
from core.storage.locks import Lock

STATUS_EVERY = 0.5
"""Seconds between two writes of status.json."""
CURVES_EVERY = 10.0
"""Seconds between two writes of curves.json, which is far larger than the status."""
READ_EVERY = 2.0
"""Seconds between two hardware readings."""
RESERVE = 2**20
"""Bytes reserved so that the last event can be written on a full disk."""


class RunRecorder:
    """Writes the events of one attempt at `run`. lock: the writer's, held."""

    def __init__(self, run: Run, lock: Lock) -> None:
        self._run, self._lock = run, lock
        self._journal = JournalWriter(run.journal)
        self._curves, rest = run.load_curves()  # from earlier attempts
        for event in rest.iter_events():
            self._curves.absorb(event)
        self.summary = self._curves.summary
        """Of all attempts."""
        self.hardware_monitor = HardwareMonitor(run.path)
        self._next_status = self._next_curves = self._next_reading = 0.0
        self._reserve = run.path / "reserve"
        with contextlib.suppress(OSError):
            self._reserve.write_bytes(bytes(RESERVE))

    def emit(self, event: Event) -> None:
        """Write `event`, and at intervals a hardware reading, status.json and curves.json.

        Raises ProcessKilledError if the run directory was deleted or replaced.
        """
        self._write(event)
        now = time.monotonic()
        if now >= self._next_reading:
            self._next_reading = now + READ_EVERY
            self._write(self.hardware_monitor.read())
        if now >= self._next_status:
            self._next_status = now + STATUS_EVERY
            self.require_directory()
            self.write_status()
        if now >= self._next_curves:
            self._next_curves = now + CURVES_EVERY
            self._write_curves()

    def finish(self, end: Event) -> bool:
        """Write the last event of the attempt; returns False if the disk is full even without the reserve."""
        written = self._write(end)
        self.sync()
        self.write_status()
        self._write_curves()
        self._reserve.unlink(missing_ok=True)
        return written

    def sync(self) -> None:
        """Flush the journal to the disk."""
        self._journal.sync()

    def require_directory(self) -> None:
        """Raise ProcessKilledError if the run directory was deleted or replaced."""
        if not self._lock.stands():
            raise ProcessKilledError(DIRECTORY_GONE, where=str(self._run.path))

    def write_status(self) -> None:
        """Replace status.json."""
        with contextlib.suppress(OSError):  # a full disk: the journal has more, and the next write may succeed
            write_snapshot(self._run.path / "status.json", self.summary, self._run.journal, self._journal.size)

    def _write(self, event: Event) -> bool:
        """Append `event` to the journal; returns False if the disk is full even without the reserve."""
        assert isinstance(event, AnyEvent)
        line = encode(event)
        with contextlib.suppress(ParseError):  # NaN, which readers of the journal ignore, too
            self._curves.absorb(decode(line))
        if self._journal.append(line):
            return True
        self._reserve.unlink(missing_ok=True)
        return self._journal.append(line)

    def _write_curves(self) -> None:
        with contextlib.suppress(OSError):
            write_snapshot(self._run.path / "curves.json", self._curves, self._run.journal, self._journal.size)
