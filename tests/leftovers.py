"""Processes that tests have started: found by a variable in their environment, even if detached, and killed."""

from __future__ import annotations

import contextlib
import os
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
    return process.status() == psutil.STATUS_ZOMBIE or any(
        name in word for word in process.cmdline() for name in _HELPERS
    )


def end(mark: str, apart_from: frozenset[int] = frozenset(), grace: float | None = None) -> list[str]:
    """Kill those `marked` that are alive after `grace` seconds, by default GRACE. Returns their command lines."""
    _, alive = psutil.wait_procs(list(marked(mark, apart_from)), GRACE if grace is None else grace)
    killed = []
    for process in alive:
        with contextlib.suppress(psutil.Error):
            killed.append(" ".join(filter(None, process.cmdline())))
            process.kill()
    psutil.wait_procs(alive, GRACE)
    return killed
