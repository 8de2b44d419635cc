"""Processes of the program, forked for tests from one that has imported torch: importing it takes 2 s in each.

`preloaded` starts that process and has it fork wherever a test starts `python -P -m MODULE` for one of MODULES, as
`multiprocessing` does with its "forkserver". What is forked becomes a child of the process that asked for it, with its
own streams, environment, folder, group and command line, so that it is waited for and killed like any other. The
supervisor of a run and the controller of a study, which start processes themselves, get such a process of their own.

`pytest --fresh` starts an interpreter each time, as users do, and so do systems without Linux' subreapers.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import inspect
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from tests import leftovers

STARTING = frozenset({"core.runs.supervisor", "core.tune.run_study", "torch.distributed.run"})
"""Modules that start others of MODULES."""

MODULES = STARTING | {
    "core.jobs.browse",
    "core.jobs.data_commands",
    "core.jobs.prepare_part",
    "core.jobs.weight_statistics",
    "core.sample.serve",
    "core.tokenize.compare",
    "core.worker",
    "tests.core.torchrun_job",
    "tests.run_code",
}

IMPORTED = (
    "core.jobs.document_reader",
    "core.jobs.preview",
    "core.jobs.export",
    "core.pipeline",
    "core.runs.branch",
    "core.sample.handlers",
    "core.train.trainer",
    "tests.core.stages",
    "torch.distributed.launcher.api",
)
"""What is imported before forking, with all that it imports; none of MODULES, each of which runs as `__main__`."""

READ_AT_START = ("PYTHON", "OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "LD_", "MALLOC_")
"""How the variables begin that an interpreter or a library reads when it starts."""

_ROOM = 4000
"""Bytes for the command line of a forked process, and for its environment, as others see them."""

_SIGNALS: dict[signal.Signals, Any] = {
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
"""With their handlers in an interpreter that has started."""

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


class Job(msgspec.Struct):
    """What is to be started. group: as `process_group` of `subprocess.Popen`. ignored: signals."""

    command: list[str]
    folder: str
    environment: dict[str, str]
    new_session: bool
    group: int
    ignored: list[int]
    limits: list[tuple[int, int]]

    @property
    def module(self) -> str:
        return self.command[3]


class Forking:
    """Has a process fork."""

    def __init__(self, connection: socket.socket, environment: dict[str, str]) -> None:
        self._connection, self._environment = connection, _read_at_start(environment)
        self._lock = threading.Lock()

    def can_start(self, environment: dict[str, str]) -> bool:
        return _read_at_start(environment) == self._environment

    def start(self, job: Job, streams: Sequence[int]) -> int:
        """Start a child of this process. streams: its standard streams. Returns its id."""
        with self._lock, _subreaper():
            socket.send_fds(self._connection, [msgspec.json.encode(job)], streams)
            answer = self._connection.recv(100)
        if not answer:
            raise RuntimeError("the process that forks has ended; `pytest --fresh` does without it")
        return int(answer)


@contextlib.contextmanager
def preloaded() -> Iterator[None]:
    """Have `subprocess`, and what uses it, fork what can be forked. The process that forks starts with the first."""
    if sys.platform != "linux":
        yield
        return
    mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server: subprocess.Popen[bytes] | None = None

    def connect(environment: dict[str, str]) -> Forking:
        nonlocal server
        kept = {name: value for name, value in environment.items() if name != leftovers.MARK}
        command = [sys.executable, "-P", "-m", "tests.preloaded", str(other.fileno()), "-" * _ROOM]
        with other:
            server = subprocess.Popen(
                command, env=kept | {"ROOM": "-" * _ROOM}, stdin=subprocess.DEVNULL, pass_fds=[other.fileno()]
            )
        return Forking(mine, environment)

    with mine, _popen_that_forks(connect):
        yield
    if server is not None:
        server.wait()


@contextlib.contextmanager
def _popen_that_forks(connect: Any) -> Iterator[None]:
    """connect: makes the Forking of the first environment in which something is to be started."""
    original: Any = subprocess.Popen._execute_child  # type: ignore[attr-defined]
    signature = inspect.signature(original)
    forking: Forking | None = None

    def execute_child(self: Any, *positional: Any, **named: Any) -> None:
        nonlocal forking
        given = signature.bind(self, *positional, **named).arguments
        command, environment = given["args"], given["env"]
        if environment is None or not _runs_module(command):
            original(self, *positional, **named)
            return
        forking = forking or connect(environment)
        if not forking.can_start(environment) or given["preexec_fn"] or given["pass_fds"]:
            original(self, *positional, **named)
            return
        job = Job(
            command=[str(word) for word in command],
            folder=str(Path(given["cwd"] or ".").resolve(strict=True)),
            environment=environment,
            new_session=given["start_new_session"],
            group=given["process_group"],
            ignored=[number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_IGN],
            limits=[resource.getrlimit(limit) for limit in _LIMITS],
        )
        ends = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        self.pid = forking.start(job, [own if end == -1 else end for own, end in enumerate(ends)])
        self._child_created = True
        self._close_pipe_fds(
            *(given[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"))
        )

    subprocess.Popen._execute_child = execute_child  # type: ignore[attr-defined]
    yield
    subprocess.Popen._execute_child = original  # type: ignore[attr-defined]


def _runs_module(command: Any) -> bool:
    """Whether this is `python -P -m MODULE` for one of MODULES, or with -u, as torchrun starts it."""
    if isinstance(command, str | bytes) or len(command) < 4:
        return False
    python, option, flag, module = command[:4]
    return python == sys.executable and option in ("-P", "-u") and flag == "-m" and module in MODULES


def _read_at_start(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


@contextlib.contextmanager
def _subreaper() -> Iterator[None]:
    """What loses its parent below this process becomes its child, not that of the system's first process."""
    libc = ctypes.CDLL(None)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(_SUBREAPER, 0, 0, 0, 0)


def main() -> NoReturn:
    """The process that forks; what it forks gets out of `_serve` and runs a module."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    while True:
        job, streams = _serve(connection)
        connection.close()
        _become(job, streams)
        if job.module in STARTING:
            mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            if os.fork() == 0:
                mine.close()
                connection = other
                continue
            other.close()
            forking = Forking(mine, job.environment)
            with _popen_that_forks(lambda _: forking):  # noqa: B023
                _run(job.module)
        _run(job.module)


def _run(module: str) -> NoReturn:
    """Run `module` and end, as `multiprocessing` ends what it forks: without taking its own modules apart.

    Taking apart torch's copies most of the memory that is shared with the process that forks: half a second.
    """
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _serve(connection: socket.socket) -> tuple[Job, list[int]]:
    """Fork for each job that comes, until the other end is closed; returns in what was forked."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # nobody waits for the end of a stream that this process holds open
        os.dup2(nothing, stream)
    os.close(nothing)
    while True:
        message, streams, _, _ = socket.recv_fds(connection, 2**20, 3)
        if not message:
            os._exit(0)
        job = msgspec.json.decode(message, type=Job)
        reading, writing = os.pipe()
        if (between := os.fork()) == 0:
            between = os.getpid()
            if (child := os.fork()) == 0:
                while os.getppid() == between:  # then its parent is the process that asked for it
                    time.sleep(0.0005)
                return job, streams
            os.write(writing, str(child).encode())
            os._exit(0)
        os.close(writing)
        os.waitpid(between, 0)
        connection.send(os.read(reading, 100))
        for fd in (reading, *streams):
            os.close(fd)


def _become(job: Job, streams: Sequence[int]) -> None:
    """Take over all that a process gets from the one that starts it."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    if job.new_session:
        os.setsid()
    elif job.group >= 0:
        os.setpgid(0, job.group)
    for number, handler in _SIGNALS.items():
        signal.signal(number, signal.SIG_IGN if number in job.ignored else handler)
    for limit, values in zip(_LIMITS, job.limits, strict=True):
        resource.setrlimit(limit, values)
    os.chdir(job.folder)
    os.environ.clear()
    _show(job)
    os.environ.update(job.environment)
    sys.argv[1:] = job.command[4:]


def _show(job: Job) -> None:
    """Let other processes see the job's command line and the mark in its environment.

    They see the memory that the kernel filled when this interpreter was started; its addresses are fields 48 to 51.
    """
    mark = f"{leftovers.MARK}={job.environment.get(leftovers.MARK, '')}"
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    arguments, arguments_end, environment, environment_end = (int(field) for field in fields[45:49])
    for texts, start, end in ((job.command, arguments, arguments_end), ([mark], environment, environment_end)):
        room = end - start
        ctypes.memmove(start, "\0".join(texts).encode()[: room - 1].ljust(room, b"\0"), room)


if __name__ == "__main__":
    main()
