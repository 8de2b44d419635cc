"""Deletion of temporary files that dead processes left."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from core.runs.directory import queue_entry
from core.storage.locks import holder
from core.storage.workspace import Workspace

_LEFTOVER_NAME = re.compile(r"\.(?:trash-.+-|.+\.)(\d+)(?:\.tmp)?")
"""Names that `core.storage.files` gives to temporary files and files being deleted; the number is the process id."""


def remove_leftovers(workspace: Workspace) -> None:
    """Delete temporary files of dead processes in runs and artifacts, and the places of deleted runs in the queue.

    Runs with a held lock are skipped: their processes may be in a container with other pids. Temporary files of
    checkpoints are left to the worker of their run.
    """
    for entry in queue_entry(workspace.runs / "-").parent.glob("[!.]*"):
        if not (workspace.runs / entry.name).is_dir():  # it waited when it was deleted
            entry.unlink(missing_ok=True)
    folders = [workspace.runs, *workspace.artifacts.glob("*")]
    with contextlib.suppress(OSError):
        for run in workspace.runs.iterdir():
            if not run.name.startswith(".") and run.is_dir() and not _held(run):
                folders += [run, run / "control"]
    for folder in folders:
        with contextlib.suppress(OSError):
            for left in _leftovers(folder):
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)


def _held(run: Path) -> bool:
    return any(holder(run / name) for name in ("supervisor.lock", "writer.lock"))


def _leftovers(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        found = _LEFTOVER_NAME.fullmatch(entry.name)
        has_one_affix = entry.name.startswith(".trash-") != entry.name.endswith(".tmp")
        if found and has_one_affix and not psutil.pid_exists(int(found[1])):
            yield entry
