"""Processes that tests have started: found by a variable in their environment, even if detached, and killed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import psutil

MARK = "LLMTUI_TEST"
"""Variable with the id of a test, which the processes that it starts inherit."""

GRACE = 60.0
"""Seconds in which a process may end by itself."""

STARTERS = (
    ("subprocess", "Popen.__init__"),
    ("multiprocessing.process", "BaseProcess.start"),
    ("pty", "fork"),
    ("os", "fork"),
)
"""Functions that start processes, by module and name."""

_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Processes of Python that live as long as the one that needed them."""


def marked(mark: str, apart_from: frozenset[int] = frozenset()) -> Iterator[psutil.Process]:
    """Living processes whose mark begins with `mark`. apart_from: ids that are skipped."""
    for pid in psutil.pids():
        if pid in apart_from or pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            if process.environ().get(MARK, "").startswith(mark) and not _helps(process):
                yield process


def _helps(process: psutil.Process) -> bool:
    return has_ended(process) or any(name in word for word in command_line(process) for name in _HELPERS)


def command_line(process: psutil.Process) -> list[str]:
    """Its words; none if it has ended."""
    try:
        return [word for word in process.cmdline() if word]
    except psutil.Error:
        return []


def has_ended(process: psutil.Process) -> bool:
    """Also if nobody has asked for its exit code yet, as the system's first process does once a second."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those of `processes` that are alive after `seconds`, or as soon as there are none."""
    deadline = time.monotonic() + seconds
    while (alive := [process for process in processes if not has_ended(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def end(mark: str, apart_from: frozenset[int] = frozenset(), grace: float | None = None) -> list[str]:
    """Kill those `marked` that are alive after `grace` seconds, by default GRACE. Returns their command lines."""
    alive = _wait(list(marked(mark, apart_from)), GRACE if grace is None else grace)
    killed = []
    for process in alive:
        killed.append(" ".join(command_line(process)))
        with contextlib.suppress(psutil.Error):
            process.kill()
    _wait(alive, GRACE)
    return killed
