"""The process that works on a run: `python -P -m core.worker RUN_DIR ATTEMPT`, started by the supervisor.

It drives the pipeline, writes what it says into the journal, and hands in what people ask for. Exit codes: 0 done,
3 stopped on request, 75 somebody else is at it, else the code of what went wrong.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from core.events import AnyEvent, Ended, Event, Metric, Paused, Plan, Resumed, Started, encode
from core.files import sweep, write_atomic
from core.hardware import Meter
from core.journal import Lines, Tail
from core.locks import Lock
from core.runs.control import Requests
from core.runs.directory import Run
from core.runs.summary import Summary
from core.train.commands import Checkpoint, Commands, Stop
from core.trouble import Busy, DiskTrouble, Trouble
from core.workspace import Workspace

STOPPED = 3
STATUS_EVERY = 0.5
"""Seconds between two writings of status.json."""
READ_EVERY = 2.0
"""Seconds between two readings of the machine."""
RESERVE = 2**20
"""Bytes put aside, so that the last word can be written on a full disk."""


class Stopped(Exception):
    """Somebody asked for it."""


class Worker:
    """One attempt at a run. Made only while holding the writer's lock."""

    def __init__(self, run: Run, attempt: int) -> None:
        self._run, self._attempt = run, attempt
        self._requests = Requests(run)
        self._journal = Lines(run.journal)
        self._summary = Summary()
        for event in Tail(run.journal).events():  # what earlier attempts said
            self._summary.absorb(event)
        self._meter = Meter(run.path)
        self._next_status = self._next_reading = 0.0
        self._asked_to_stop = False
        self._reserve = run.path / "reserve"
        with contextlib.suppress(OSError):
            self._reserve.write_bytes(bytes(RESERVE))

    def work(self) -> int:
        """Do the run, to its end or to the next stop. Returns the exit code."""
        signal.signal(signal.SIGTERM, self._terminate)
        try:
            self._drive()
            end = Ended(attempt=self._attempt, outcome="done")
        except Stopped:
            end = Ended(attempt=self._attempt, outcome="stopped", exit_code=STOPPED)
        except Trouble as trouble:
            end = self._failed(trouble)
        except OSError as error:
            traceback.print_exc()
            end = self._failed(DiskTrouble.of(error, error.filename or self._run.path))
        except Exception as error:
            traceback.print_exc()
            what = f"an error nobody foresaw: {type(error).__name__}: {error}"
            end = self._failed(Trouble(what, where=str(self._run.log), todo="the log has the details"))
        self._say(end)
        self._journal.sync()
        self._write_status()
        self._reserve.unlink(missing_ok=True)
        return end.exit_code

    def _failed(self, trouble: Trouble) -> Ended:
        return Ended(
            attempt=self._attempt,
            outcome="failed",
            what=f"cannot {trouble.doing}: {trouble.what}",
            where=trouble.where,
            kept=trouble.kept,
            todo=trouble.todo,
            exit_code=trouble.exit_code,
        )

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        self._asked_to_stop = True

    def _drive(self) -> None:
        # the heavy imports come only now: the lock is held, so a screen already shows the run as alive
        from core.model.device import choose
        from core.pipeline import pipeline
        from core.train.fit import peak

        workspace = Workspace().prepare()
        sweep(self._run.checkpoints)
        device = choose(self._run.recipe.train)
        self._say(Started(attempt=self._attempt, pid=os.getpid(), host=socket.gethostname(), device=device.words))
        talk = pipeline(self._run.recipe, workspace, self._run.path, device)
        with contextlib.closing(talk):
            commands: Commands | None = None
            while True:
                try:
                    event = talk.send(commands)
                except StopIteration:
                    break
                if isinstance(event, Plan | Resumed):
                    self._meter.peak = lambda: peak(device.name)
                self._say(event)
                commands = self._commands(event)
        if self._asked_to_stop:
            raise Stopped

    def _commands(self, event: Event) -> Commands | None:
        """What to send in after `event`. Waits while a pause is wanted. Raises Stopped where closing is stopping."""
        asked = self._requests.anything()
        if asked:
            for _ in self._pauses():
                time.sleep(0.1)
            self._asked_to_stop = self._asked_to_stop or self._requests.take_stop()
        if not isinstance(event, Metric):
            if self._asked_to_stop and self._summary.stage != "train":
                raise Stopped
            return None
        if self._asked_to_stop:
            return (Stop(),)
        if not asked:
            return ()
        return (*self._requests.take_samples(), *((Checkpoint(),) if self._requests.take_checkpoint() else ()))

    def _pauses(self) -> Iterator[None]:
        """One item for each moment to wait."""
        if not self._requests.pause():
            return
        self._say(Paused())
        self._write_status()
        while self._requests.pause() and not self._asked_to_stop:
            yield
            # a signal may have come in meanwhile: never forget it
            self._asked_to_stop = self._requests.take_stop() or self._asked_to_stop

    def _say(self, event: Event) -> None:
        """Write `event` down, and now and then how the machine is and what it all adds up to."""
        self._write(event)
        now = time.monotonic()
        if now >= self._next_reading:
            self._next_reading = now + READ_EVERY
            self._write(self._meter.read())
        if now >= self._next_status:
            self._next_status = now + STATUS_EVERY
            self._write_status()

    def _write(self, event: Event) -> None:
        assert isinstance(event, AnyEvent)
        self._summary.absorb(event)
        line = encode(event)
        if not self._journal.append(line):
            self._reserve.unlink(missing_ok=True)
            self._journal.append(line)

    def _write_status(self) -> None:
        with contextlib.suppress(OSError):  # a full disk: the journal says more, and the next try may work
            write_atomic(self._run.path / "status.json", encode(self._summary), durable=False)


def main() -> int:
    run, attempt = Run.open(Path(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lock = Lock.acquire(run.path / "writer.lock")
    if lock is None:
        return Busy.exit_code
    with lock:
        return Worker(run, attempt).work()


if __name__ == "__main__":
    sys.exit(main())
