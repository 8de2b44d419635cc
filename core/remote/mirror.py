"""The process that mirrors the runs of a host: `python -P -m core.remote.mirror HOST_DIR`.

One ssh connection carries everything. When it is lost the process connects again, and continues each file where its
mirror ends.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import BinaryIO, cast

from msgspec.structs import replace

from core import __version__
from core.errors import BusyError, LlmtuiError, log
from core.parsing import ParseError, read_json
from core.remote.hosts import Connection, HostFile, MirroredHost
from core.remote.messages import (
    PROTOCOL,
    Appended,
    CheckpointFile,
    CheckpointSent,
    FromHost,
    Hello,
    HostLoad,
    MirrorProtocolError,
    RequestFailed,
    RunDescription,
    RunGone,
    RunProcesses,
    Welcome,
    receive,
    send,
    skip_to_greeting,
)
from core.remote.run_mirror import RunMirror
from core.run_names import run_ids
from core.storage.locks import Lock
from core.storage.workspace import Workspace
from core.targets.ssh import NOT_FOUND, failure_on_host

TICK = 0.5
"""Seconds between two polls of the requests."""

GREETING_SECONDS = 60.0
"""How long a host may take to log in and to start llmtui."""

SILENCE = 30.0
"""Seconds without a message, of which there is one every five, after which a connection is given up."""

RETRY = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the next attempts to connect; the last one repeats."""


class Greeted:
    """The host has greeted: what follows are messages."""


class Ended:
    """The connection has ended. why: what the host said that is no message."""

    def __init__(self, why: str = "") -> None:
        self.why = why


class Mirror:
    """Mirrors one host, whose lock is held."""

    def __init__(self, host: MirroredHost, workspace: Workspace) -> None:
        self._host, self._workspace = host, workspace
        self._mirrors: dict[str, RunMirror] = {}
        self._connection = Connection(since=time.time(), why="connecting")
        self._current: Lock | None = None
        """Held while the mirrors are up to date."""
        self._deleted: set[str] = set()
        """Ids of the runs whose mirrors the user has deleted."""
        self.stopping = False

    def run(self) -> None:
        """Mirror until a stop is requested."""
        attempt = 0
        while not self._stop_requested:
            self._say(replace(self._connection, connected=False))
            why = self._connect()
            if self._connection.connected:
                attempt = 0
            if self._current:
                self._current.release()
                self._current = None
            for mirror in self._mirrors.values():
                mirror.disconnect()
            self._mirrors.clear()
            self._say(Connection(since=time.time(), why=why))
            log(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {why}")
            until = time.monotonic() + RETRY[min(attempt, len(RETRY) - 1)]
            attempt += 1
            while time.monotonic() < until and not self._stop_requested:
                time.sleep(0.1)
        self._say(Connection(since=time.time(), why="disconnected on request"))

    @property
    def _stop_requested(self) -> bool:
        return self.stopping or (self._host.path / "stop").exists() or not self._host.path.is_dir()

    def _say(self, connection: Connection) -> None:
        self._connection = connection
        with contextlib.suppress(OSError):
            self._host.write_connection(connection)

    # -- one connection -------------------------------------------------------------------------------------------

    def _connect(self) -> str:
        """Mirror until the connection ends; returns why it did."""
        command = self._host.command("hosts serve")
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except OSError as error:
            return f"{command[0]} cannot be started: {(error.strerror or str(error)).lower()}"
        errors: deque[str] = deque(maxlen=20)
        arrived: queue.Queue[FromHost | Greeted | Ended] = queue.Queue(maxsize=64)
        threads = [
            threading.Thread(target=_collect, args=(process.stderr, errors), daemon=True),
            threading.Thread(target=_receive, args=(process.stdout, arrived), daemon=True),
        ]
        for thread in threads:
            thread.start()
        why = ""
        try:
            why = self._follow(cast(BinaryIO, process.stdin), arrived)
        except (BrokenPipeError, ConnectionError):
            pass
        except OSError as error:
            why = f"this machine's disk: {(error.strerror or str(error)).lower()}"
        except LlmtuiError as error:
            why = error.sentence()
        finally:
            code = _end(process)
        threads[0].join(1.0)
        while threads[1].is_alive():  # it may wait for a place in the queue
            with contextlib.suppress(queue.Empty):
                arrived.get(timeout=0.1)
        return why or self._why(code, errors)

    def _follow(self, stream: BinaryIO, arrived: queue.Queue[FromHost | Greeted | Ended]) -> str:
        """Take over what arrives, and send requests; returns why it ended, if this side knows."""
        greeted, received_at, next_tick = False, time.monotonic(), time.monotonic()
        while not self._stop_requested:
            try:
                message = arrived.get(timeout=max(0.01, next_tick - time.monotonic()))
            except queue.Empty:
                message = None
            now = time.monotonic()
            if message is not None:
                received_at = now
            elif now - received_at > (SILENCE if greeted else GREETING_SECONDS):
                return f"it has not answered for {now - received_at:.0f} s"
            match message:
                case Ended(why=why):
                    return why
                case Greeted():
                    greeted = True
                    send(stream, self._hello())
                case Welcome():
                    if message.protocol != PROTOCOL:
                        return (
                            f"it has llmtui {message.version}, and here is {__version__}, which do not understand each "
                            "other: install the same version on both"
                        )
                    self._say(
                        Connection(
                            connected=True,
                            since=time.time(),
                            machine=message.machine,
                            version=message.version,
                            clock=message.time - time.time(),
                        )
                    )
                case None:
                    pass
                case _:
                    self._take(message)
            if now >= next_tick:
                next_tick = now + TICK
                self._tick(stream)
        return "disconnected on request"

    def _hello(self) -> Hello:
        for run_id in run_ids(self._workspace):
            mirror = RunMirror.open(self._workspace.runs / run_id, self._host.name)
            if mirror:
                self._mirrors[run_id] = mirror
        known = {run_id: mirror.files for run_id, mirror in self._mirrors.items()}
        self._deleted = set(self._host.file.mirrored) - set(known)
        return Hello(PROTOCOL, __version__, known, sorted(self._deleted))

    def _take(self, message: FromHost) -> None:
        if isinstance(message, HostLoad):
            if self._current is None:  # it comes after all that was new
                self._current = Lock.acquire(self._host.path / "connection.lock")
            self._say(replace(self._connection, reading=message.reading, active=message.active))
            return
        if isinstance(message, Welcome):
            return
        mirror = self._mirrors.get(message.run)
        if isinstance(message, RunDescription):
            if message.run in self._deleted:
                return
            if mirror is None:
                mirror = RunMirror.create(self._workspace, self._host.name, message.run, message.content)
                if mirror is None:
                    log(f"{message.run} is not mirrored: it is of a newer version, or there is a run of that id here")
                    return
                self._mirrors[message.run] = mirror
                self._host.save(replace(self._host.file, mirrored=(*self._host.file.mirrored, message.run)))
            mirror.describe(message.content)
            return
        if mirror is None or not mirror.exists:
            return
        match message:
            case Appended():
                mirror.append(message)
            case RunProcesses():
                mirror.write_snapshots()  # the state of a run that has ended comes from its last event
                mirror.set_processes(message)
            case CheckpointFile():
                mirror.add_checkpoint_file(message)
            case CheckpointSent():
                mirror.finish_checkpoint(message)
            case RequestFailed(why=why):
                mirror.fail(why)
            case RunGone():
                mirror.disconnect()

    def _tick(self, stream: BinaryIO) -> None:
        for run_id in [run_id for run_id, mirror in self._mirrors.items() if not mirror.exists]:
            self._mirrors.pop(run_id).disconnect()
            self._deleted.add(run_id)
        for mirror in self._mirrors.values():
            mirror.write_snapshots()
            for request in mirror.requests():
                send(stream, request)

    def _why(self, code: int, errors: deque[str]) -> str:
        """Why the command that connects has ended."""
        text = "".join(errors)
        if code in NOT_FOUND:
            file = self._host.file
            return (
                f"there is no `{file.command}` on {file.address}: install llmtui there, or say where it is: "
                f"llmtui hosts add {file.address} --command PATH"
            )
        if code == 2 and "No such command" in text:
            return f"its llmtui is older than {__version__}, which has `hosts`: install this version there"
        if code <= 0:  # ended on either side, or by a signal
            return "the connection ended"
        error = failure_on_host(self._host.file.address, code, text)
        return "; ".join(part for part in (error.what, error.todo) if part)


def _receive(stream: BinaryIO, arrived: queue.Queue[FromHost | Greeted | Ended]) -> None:
    """Put what arrives into the queue, whose size keeps a fast host waiting."""
    try:
        if skip_to_greeting(stream):
            arrived.put(Greeted())
            while (message := receive(stream)) is not None:
                arrived.put(message)
        arrived.put(Ended())
    except (MirrorProtocolError, OSError) as error:
        arrived.put(Ended(f"it does not speak as llmtui does: {error}"))


def _collect(stream: BinaryIO, lines: deque[str]) -> None:
    for line in stream:
        lines.append(line.decode(errors="replace"))
        log(lines[-1])


def _end(process: subprocess.Popen[bytes]) -> int:
    """End the connection; returns its exit code."""
    with contextlib.suppress(OSError):
        cast(BinaryIO, process.stdin).close()
    try:
        return process.wait(2.0)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def main() -> int:
    path = Path(sys.argv[1])
    try:
        host = MirroredHost(path, read_json(path / "host.json", HostFile))
        lock = Lock.acquire(host.lock)
        workspace = Workspace().prepare()
    except (OSError, ParseError) as error:
        log(f"cannot mirror: {error}")
        return 1
    except LlmtuiError as error:
        log(error.sentence())
        return error.exit_code
    if lock is None:
        return BusyError.exit_code
    with lock:
        mirror = Mirror(host, workspace)

        def stop(*_: object) -> None:
            mirror.stopping = True

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, stop)
        mirror.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
