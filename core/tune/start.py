"""Starting the controller of a study, and requests to it. Imports neither Optuna nor torch."""

from __future__ import annotations

import secrets
import time

import msgspec

from core.errors import BusyError, DiskError, LlmtuiError
from core.runs.control import request_unpause
from core.runs.directory import Run
from core.runs.errors import InvalidRunError
from core.runs.launch import python_command, start_detached
from core.storage.files import write_atomic
from core.storage.workspace import Workspace
from core.tune.space import Values
from core.tune.study import Study, Trial


class StudyActiveError(BusyError):
    doing = "start the study"


class StudyLaunchError(LlmtuiError):
    doing = "start the study"


def start(study: Study, workspace: Workspace, *, patience: float = 60.0) -> None:
    """Start the controller, detached, and wait until it holds its lock. Also the way to resume.

    Trials that a pause of the study paused continue. Raises StudyActiveError, StudyLaunchError, DiskError.
    """
    running = StudyActiveError(f"{study.id} is running already")
    if study.controller() is not None:
        raise running
    try:
        unpause(study, workspace)
        (study.control / "stop").unlink(missing_ok=True)
    except OSError as error:
        raise DiskError.from_oserror(error, study.path, kept="it was not started") from None
    start_detached(
        python_command("core.tune.controller", str(study.path)),
        workspace,
        name="controller",
        log=study.log,
        lock=study.path / "controller.lock",
        record=study.journal,
        busy=running,
        failed=StudyLaunchError,
        patience=patience,
    )


def request_stop(study: Study) -> None:
    """Stop the trials, each with a checkpoint, and the controller. `start` continues them."""
    write_atomic(study.control / "stop", b"", durable=False)


def request_pause(study: Study) -> None:
    """Pause the trials, with everything in memory, and start no others until `unpause`."""
    write_atomic(study.control / "pause", b"", durable=False)


def unpause(study: Study, workspace: Workspace) -> None:
    """End a pause of the study and of its trials."""
    if not study.pause_requested:
        return
    (study.control / "pause").unlink(missing_ok=True)
    for trial in study.trials():
        if trial.ended is None and (run := open_trial(trial, workspace)):
            request_unpause(run)


def request_trial(study: Study, values: Values) -> None:
    """Insert a trial with these values: it is the next one to start."""
    path = study.control / f"add-{time.time_ns():020d}-{secrets.token_hex(2)}.json"
    write_atomic(path, msgspec.json.encode({"values": values}), durable=False)


def request_promotion(study: Study, number: int) -> None:
    """Let a trial that waits at a rung train to the next one: it is the next one to start."""
    write_atomic(study.control / f"promote-{number}", b"", durable=False)


def request_drop(study: Study, number: int) -> None:
    """End a trial that waits at a rung. One that trains is stopped like any run."""
    write_atomic(study.control / f"drop-{number}", b"", durable=False)


def open_trial(trial: Trial, workspace: Workspace) -> Run | None:
    """The run of a trial; None if it cannot be read."""
    try:
        return Run.open(workspace.runs / trial.run_id)
    except InvalidRunError:
        return None
