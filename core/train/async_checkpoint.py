"""Saving without making the training wait: what is saved is copied, and one thread writes the copy."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from core.errors import DiskError
from core.events import CheckpointSaved, Event, Note
from core.hardware import available_memory
from core.storage.workspace import free_bytes
from core.train.checkpoint import Snapshot, retain

MARGIN = 16 * 2**20
"""Free space that a checkpoint must leave: the journal has to go on."""

MEMORY = 1.2
"""Free memory asked for before copying, in sizes of the copy."""


class Saver:
    """Saves one training's checkpoints into `directory`, one at a time, and keeps the newest `keep` and the best.

    What there is to say of it is said when somebody asks: by `begin`, `poll` and `finish`, never by the thread.
    Use as a context manager: leaving it waits for the thread.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory, self._keep = directory, keep
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: tuple[int, Future[CheckpointSaved]] | None = None
        self._unsaid: list[Event] = []
        self.step = -1
        """Of the newest checkpoint that is known to be whole; -1 before there is one."""

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._thread.shutdown(wait=True)

    def require_room(self, size: int) -> None:
        """Raise DiskError where a checkpoint of `size` bytes could not be saved now: to be asked before all the work
        of which it would be the result."""
        wanted, free = size + MARGIN, free_bytes(self._directory)
        if free < wanted:
            raise DiskError(
                f"the disk has too little room for a checkpoint: {free:,} bytes free of {wanted:,}",
                where=str(self._directory),
                kept=self.kept(),
                todo="free some space or set LLMTUI_HOME to another place, then resume",
            )

    def begin(self, snapshot: Snapshot) -> list[Event]:
        """Save `snapshot` while training goes on, after what is being written at the moment.

        Where the memory is too short for a copy, it is written before this returns.
        """
        self.settle()
        began = time.monotonic()
        try:
            self.require_room(snapshot.size)
        except DiskError as trouble:
            self._fail(snapshot.state.step, trouble)
            return self.poll()
        copy = self._copy(snapshot)
        self._writing = snapshot.state.step, self._thread.submit(self._write, copy or snapshot, began)
        if copy is None:
            self.settle()
        return self.poll()

    def finish(self, snapshot: Snapshot) -> list[Event]:
        """Save `snapshot`, the last one, before this returns. Raises DiskError."""
        self.settle()
        self.require_room(snapshot.size)
        try:
            self._succeed(self._write(snapshot, time.monotonic()))
        except OSError as error:
            raise DiskError.from_oserror(error, self._directory, kept=self.kept()) from None
        return self.poll()

    def poll(self) -> list[Event]:
        """What has happened since the last time. Does not wait."""
        if self._writing is not None and self._writing[1].done():
            self.settle()
        said, self._unsaid = self._unsaid, []
        return said

    def settle(self) -> None:
        """Wait for what is being written; what there is to say of it is kept for `poll`."""
        if self._writing is None:
            return
        step, future = self._writing
        self._writing = None
        try:
            self._succeed(future.result())
        except OSError as error:
            self._fail(step, DiskError.from_oserror(error, self._directory))

    def kept(self) -> str:
        """Which checkpoint is safe, in words. Waits for what is being written."""
        self.settle()
        if self.step < 0:
            return "no checkpoint had been saved yet"
        return f"the checkpoint of step {self.step:,} is kept"

    @staticmethod
    def _copy(snapshot: Snapshot) -> Snapshot | None:
        """None where there is too little memory for one."""
        if available_memory() < MEMORY * snapshot.bytes:
            return None
        try:
            return snapshot.copied()
        except (MemoryError, RuntimeError):  # torch has several ways to say that there is less than it seemed
            return None

    def _write(self, snapshot: Snapshot, began: float) -> CheckpointSaved:
        saved = snapshot.write(self._directory)
        retain(saved, self._keep)
        size = sum(file.bytes for file in saved.manifest.files.values())
        seconds = time.monotonic() - began
        return CheckpointSaved(step=snapshot.state.step, path=str(saved.path), bytes=size, seconds=seconds)

    def _succeed(self, saved: CheckpointSaved) -> None:
        self.step = saved.step
        self._unsaid.append(saved)

    def _fail(self, step: int, trouble: DiskError) -> None:
        text = f"no checkpoint at step {step:,}: {trouble.what}; {self.kept()}"
        self._unsaid.append(Note(level="warning", text=text))
