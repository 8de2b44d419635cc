"""Processes that tests have started: found by a word in their environment, however detached they are, and ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import psutil

MARK = "LLMTUI_TEST"
"""Variable that every process inherits from the test that has started it: which one it was."""

GRACE = 60.0
"""Seconds for those on their way out."""

STARTERS = (
    ("subprocess", "Popen.__init__"),
    ("multiprocessing.process", "BaseProcess.start"),
    ("pty", "fork"),
    ("os", "fork"),
)
"""What processes are started by, module and name."""

_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""What Python keeps for as long as the process that needed it lives."""


def marked(mark: str, apart_from: frozenset[int] = frozenset()) -> Iterator[psutil.Process]:
    """Living processes whose mark begins with `mark`. apart_from: ids that need no look."""
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
    """Kill what lives on of those `marked` after `grace` seconds, else GRACE; the command lines of what was killed."""
    _, alive = psutil.wait_procs(list(marked(mark, apart_from)), GRACE if grace is None else grace)
    killed = []
    for process in alive:
        with contextlib.suppress(psutil.Error):
            killed.append(" ".join(process.cmdline()))
            process.kill()
    psutil.wait_procs(alive, GRACE)
    return killed
