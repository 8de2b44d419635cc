"""Starting the controller of a study, and requests to it. Imports neither Optuna nor torch."""

from __future__ import annotations

import secrets
import subprocess
import time

import msgspec

from core.errors import BusyError, DiskError, LlmtuiError
from core.runs.control import request_unpause
from core.runs.directory import Run
from core.runs.errors import InvalidRunError
from core.runs.failure import find_reason
from core.runs.launch import child_environment, python_command
from core.storage.files import private, write_atomic
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
    if study.controller() is not None:
        raise StudyActiveError(f"{study.id} is running already")
    try:
        unpause(study, workspace)
        (study.control / "stop").unlink(missing_ok=True)
        begin = study.log.stat().st_size if study.log.exists() else 0
        before = study.journal.stat().st_size if study.journal.exists() else 0
        with open(study.log, "ab", opener=private) as log:
            process = subprocess.Popen(
                python_command("core.tune.controller", str(study.path)),
                cwd=study.path,
                env=child_environment(workspace),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except OSError as error:
        raise DiskError.from_oserror(error, study.path, kept="it was not started") from None
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if study.controller() == process.pid:
            return
        code = process.poll()
        if code == BusyError.exit_code:
            raise StudyActiveError(f"{study.id} is running already")
        if code is not None and study.journal.exists() and study.journal.stat().st_size > before:
            return  # it has ended already
        if code is not None:
            reason = find_reason(study.log, begin) or f"its controller ended at once with code {code}"
            raise StudyLaunchError(reason, where=str(study.log))
        time.sleep(0.01)
    raise StudyLaunchError(f"its controller did not come up within {patience:.0f} s", where=str(study.log))


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


def open_trial(trial: Trial, workspace: Workspace) -> Run | None:
    """The run of a trial; None if it cannot be read."""
    try:
        return Run.open(workspace.runs / trial.run_id)
    except InvalidRunError:
        return None
