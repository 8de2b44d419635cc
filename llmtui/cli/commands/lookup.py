"""What runs have made, found by their name: a run with a checkpoint, the artifact of a data stage."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from core.checkpoints import readable_checkpoints
from core.errors import UsageError, did_you_mean
from core.run_names import RunNotFoundError
from core.runs.directory import Run
from core.runs.lookup import all_runs, find_runs
from core.storage.artifact import Artifact, DamagedError
from core.storage.workspace import Workspace
from llmtui.cli.console import say
from llmtui.view.run_state import next_step, standing

FOLDERS = {"download": "documents", "preprocess": "clean", "tokenize": "tokens"}
"""Of the data stages: where their artifacts lie."""


class ArtifactNotFoundError(UsageError):
    doing = "find the data"


def newest_with(workspace: Workspace, wanted: str | None, has: Callable[[Run], bool], what: str) -> Run:
    """Of the runs that `wanted` may mean the newest that has what is needed; the newest of all where none has.

    That a newer one is passed over is said. what: what it lacks, as in "has no checkpoint". Raises RunNotFoundError.
    """
    runs = find_runs(workspace, wanted)
    found = next((run for run in runs if has(run)), runs[0])
    if found is not runs[0]:
        say(f"{runs[0].id} has no {what} ({standing(runs[0])}); taking {found.id}")
    return found


def run_with_checkpoint(workspace: Workspace, wanted: str | None) -> Run:
    """The run that `wanted` means to a command that asks its model, see `newest_with`."""
    return newest_with(workspace, wanted, lambda run: bool(readable_checkpoints(run.checkpoints)), "checkpoint")


def artifact_of(workspace: Workspace, wanted: str | None, stage: str) -> Path:
    """What that stage made: of a run, see `newest_with`, or else the newest data of that name, with its fingerprint or
    without. Raises ArtifactNotFoundError, RunNotFoundError."""
    folder = workspace.artifacts / FOLDERS[stage]
    if wanted and wanted not in (".", "..") and "/" not in wanted and (folder / wanted).is_dir():
        return folder / wanted
    try:
        run = newest_with(workspace, wanted, lambda run: _made(run, stage), f"{folder.name} data")
    except RunNotFoundError as trouble:
        if wanted is None:
            raise
        there = list(_artifacts(folder))
        matching = [artifact for artifact in there if title(artifact.path) == wanted.lower()]
        if not matching:
            names = sorted({title(artifact.path) for artifact in there})
            hint = did_you_mean(wanted, [*names, *(run.name for run in all_runs(workspace))])
            todo = hint or (f"there is: {', '.join(names)}" if names else trouble.todo)
            raise RunNotFoundError(f"there is no run and no {folder.name} data called {wanted!r}", todo=todo) from None
        return max(matching, key=lambda artifact: artifact.manifest.made_at).path
    made = run.summary().stages[stage].artifact
    if not made:
        what = f"its {stage} stage has not finished ({standing(run)})"
        raise ArtifactNotFoundError(what, where=run.id, todo=next_step(run))
    if not Path(made).is_dir():
        what = f"what its {stage} stage made is no longer there"
        raise ArtifactNotFoundError(what, where=made, todo="llmtui data prepare with the run's recipe makes it again")
    return Path(made)


def _made(run: Run, stage: str) -> bool:
    made = run.summary().stages[stage].artifact
    return bool(made) and Path(made).is_dir()


def title(path: Path) -> str:
    """An artifact's name without the fingerprint."""
    return path.name.rpartition("-")[0]


def _artifacts(folder: Path) -> Iterator[Artifact]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.name.endswith(".partial"):
            with contextlib.suppress(DamagedError):
                yield Artifact.open(path)
