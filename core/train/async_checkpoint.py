"""Saving checkpoints in the background: the training state is copied, and one thread writes the copy."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from core.errors import DiskError
from core.events import CheckpointSaved, Event, Note
from core.hardware import available_memory
from core.plural import size_text
from core.storage.workspace import free_bytes
from core.train.checkpoint import Snapshot, delete_superseded

MIN_FREE_BYTES = 16 * 2**20
"""Disk space that a checkpoint must leave free, for the journal."""

COPY_HEADROOM = 1.2
"""Free memory required before copying, in sizes of the copy."""


class AsyncCheckpointer:
    """Saves the checkpoints of a training in `directory`, one at a time.

    The newest `keep` are kept, the best, and those that are `pinned`.

    Its events are returned by `begin`, `poll` and `finish`. As a context manager it waits for the thread on exit.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self.directory, self._keep = directory, keep
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: tuple[int, Future[CheckpointSaved]] | None = None
        self._events: list[Event] = []
        self.pinned: frozenset[int] = frozenset()
        """Steps whose checkpoints are kept, too."""
        self.step = -1
        """Of the newest intact checkpoint; -1 before there is one."""

    def __enter__(self) -> AsyncCheckpointer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._thread.shutdown(wait=True)

    def require_room(self, size: int) -> None:
        """Raise DiskError if the disk has no room for a checkpoint of `size` bytes."""
        required, free = size + MIN_FREE_BYTES, free_bytes(self.directory)
        if free < required:
            raise DiskError(
                f"the disk has too little room for a checkpoint: {size_text(free)} free of {size_text(required)}",
                where=str(self.directory),
                kept=self.kept(),
                todo="free some space or set LLMTUI_HOME to another directory, then resume",
            )

    def begin(self, snapshot: Snapshot) -> list[Event]:
        """Save `snapshot` in the background; waits for the previous one first.

        If the memory is too small for a copy, it is written before this returns. An error becomes a warning.
        """
        self.settle()
        began = time.monotonic()
        try:
            self.require_room(snapshot.size)
        except DiskError as error:
            self._fail(snapshot.state.step, error)
            return self.poll()
        copy = self._copy(snapshot)
        self._writing = snapshot.state.step, self._thread.submit(self._write, copy or snapshot, began)
        if copy is None:
            self.settle()
        return self.poll()

    def finish(self, snapshot: Snapshot) -> list[Event]:
        """Save the last `snapshot` before this returns. Raises DiskError."""
        self.settle()
        self.require_room(snapshot.size)
        try:
            self._succeed(self._write(snapshot, time.monotonic()))
        except OSError as error:
            raise DiskError.from_oserror(error, self.directory, kept=self.kept()) from None
        return self.poll()

    def poll(self) -> list[Event]:
        """Events since the last call. Does not wait."""
        if self._writing is not None and self._writing[1].done():
            self.settle()
        events, self._events = self._events, []
        return events

    def settle(self) -> None:
        """Wait for the checkpoint being written; its event is returned by the next `poll`."""
        if self._writing is None:
            return
        step, future = self._writing
        self._writing = None
        try:
            self._succeed(future.result())
        except OSError as error:
            self._fail(step, DiskError.from_oserror(error, self.directory))

    def kept(self) -> str:
        """Which checkpoint is safe, in words. Waits for the one being written."""
        self.settle()
        if self.step < 0:
            return "no checkpoint had been saved yet"
        return f"the checkpoint of step {self.step:,} is kept"

    @staticmethod
    def _copy(snapshot: Snapshot) -> Snapshot | None:
        """A copy of `snapshot`; None if there is too little memory."""
        if available_memory() < COPY_HEADROOM * snapshot.bytes:
            return None
        try:
            return snapshot.copied()
        except (MemoryError, RuntimeError):  # torch raises either when memory runs out
            return None

    def _write(self, snapshot: Snapshot, began: float) -> CheckpointSaved:
        saved = snapshot.write(self.directory)
        delete_superseded(saved, self._keep, self.pinned)
        size = sum(file.bytes for file in saved.manifest.files.values())
        seconds = time.monotonic() - began
        return CheckpointSaved(step=snapshot.state.step, path=str(saved.path), bytes=size, seconds=seconds)

    def _succeed(self, saved: CheckpointSaved) -> None:
        self.step = saved.step
        self._events.append(saved)

    def _fail(self, step: int, error: DiskError) -> None:
        text = f"no checkpoint at step {step:,}: {error.what}; {self.kept()}"
        self._events.append(Note(level="warning", text=text))
