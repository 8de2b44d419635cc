"""Find a run with a checkpoint, or the artifact of a data stage, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.checkpoints import readable_checkpoints
from core.errors import UsageError, did_you_mean
from core.run_names import RunNotFoundError
from core.runs.artifacts import FOLDERS, artifact_path, list_artifacts
from core.runs.directory import Run
from core.runs.lookup import all_runs, find_runs
from core.runs.remote_state import inference_checkpoints
from core.storage.workspace import Workspace
from llmtui.cli.console import print_message
from llmtui.view.run_state import next_step_text, state_text


class ArtifactNotFoundError(UsageError):
    doing = "find the data"


def newest_run_with(workspace: Workspace, name: str | None, accept: Callable[[Run], bool], what: str) -> Run:
    """The newest run matching `name` that `accept` accepts, or else the newest one. Raises RunNotFoundError.

    what: what the others lack, for the message that newer runs are skipped, such as "checkpoint".
    """
    runs = find_runs(workspace, name)
    found = next((run for run in runs if accept(run)), runs[0])
    if found is not runs[0]:
        print_message(f"{runs[0].id} has no {what} ({state_text(runs[0])}); taking {found.id}")
    return found


def run_with_checkpoint(workspace: Workspace, name: str | None) -> Run:
    """The newest run matching `name` that has a checkpoint on this machine, see `newest_run_with`."""
    return newest_run_with(workspace, name, lambda run: bool(readable_checkpoints(run.checkpoints)), "checkpoint")


def run_for_inference(workspace: Workspace, name: str | None) -> Run:
    """The newest run matching `name` with a checkpoint here or on its host, see `newest_run_with`."""
    return newest_run_with(workspace, name, lambda run: bool(inference_checkpoints(run)), "checkpoint")


def find_artifact(workspace: Workspace, name: str | None, stage: str) -> Path:
    """Path of the artifact of `stage`, of a run (see `newest_run_with`) or else the newest one called `name`, with or
    without its fingerprint. Raises ArtifactNotFoundError, RunNotFoundError."""
    folder = workspace.artifacts / FOLDERS[stage]
    if name and name not in (".", "..") and "/" not in name and (folder / name).is_dir():
        return folder / name
    try:
        run = newest_run_with(workspace, name, lambda run: _made(run, stage), f"{folder.name} data")
    except RunNotFoundError as error:
        if name is None:
            raise
        found = [a for a in list_artifacts(workspace) if a.stage == stage and a.state == "complete"]
        matching = [artifact for artifact in found if artifact.name == name.lower()]
        if not matching:
            titles = sorted({artifact.name for artifact in found})
            hint = did_you_mean(name, [*titles, *(run.name for run in all_runs(workspace))])
            todo = hint or (f"there is: {', '.join(titles)}" if titles else error.todo)
            raise RunNotFoundError(f"there is no run and no {folder.name} data called {name!r}", todo=todo) from None
        return Path(max(matching, key=lambda artifact: artifact.made_at).path)
    made = artifact_path(run, run.summary(), stage)
    if not made:
        what = f"its {stage} stage has not finished ({state_text(run)})"
        raise ArtifactNotFoundError(what, where=run.id, todo=next_step_text(run))
    if not Path(made).is_dir():
        what = f"what its {stage} stage made is no longer there"
        raise ArtifactNotFoundError(what, where=made, todo="llmtui data prepare with the run's recipe makes it again")
    return Path(made)


def _made(run: Run, stage: str) -> bool:
    made = artifact_path(run, run.summary(), stage)
    return bool(made) and Path(made).is_dir()
