"""Starting the controller of a study, and requests to it. Imports neither Optuna nor torch."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from core.errors import BusyError, DiskError, LlmtuiError
from core.parsing import ParseError, read_json
from core.recipe.schema import Recipe
from core.runs.control import request_unpause
from core.runs.directory import Run
from core.runs.errors import InvalidRunError
from core.runs.launch import python_command, start_detached
from core.storage.files import write_atomic
from core.storage.workspace import Workspace
from core.tune.default_space import default_space
from core.tune.requests import Request
from core.tune.space import Values
from core.tune.study import Study
from core.tune.study_file import StudyFile, convert
from core.tune.trials import Trial


class StudyActiveError(BusyError):
    doing = "start the study"


class StudyLaunchError(LlmtuiError):
    doing = "start the study"


DEFAULT_TRIALS = 20
"""Trials of a study that is given no limit."""


def complete_settings(tables: Mapping[str, Any], recipe: Recipe, where: str) -> StudyFile:
    """The settings of a new study in `tables`, as study.toml has them, with what they leave out.

    The space around the values of `recipe`, TPE if Optuna is installed, `DEFAULT_TRIALS` trials if nothing limits them,
    successive halving unless it is a grid or has two objectives.
    where: for errors. Raises StudyFileError, SpaceError.
    """
    tables = {"sampler": "tpe" if find_spec("optuna") else "random", **tables}
    if "space" not in tables:
        tables["space"] = default_space(recipe)
    if "trials" not in tables and "minutes" not in tables and tables["sampler"] != "grid":
        tables["trials"] = DEFAULT_TRIALS
    scheduler = tables.get("scheduler", {})
    if isinstance(scheduler, Mapping):
        whole = tables["sampler"] == "grid" or "second_objective" in tables
        tables["scheduler"] = {"kind": "none" if whole else "asha", **scheduler}
    return convert(tables, recipe, where)[0]


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
        python_command("core.tune.run_study", str(study.path)),
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
        if trial.ended is None and not trial.paused and (run := open_trial(trial, workspace)):
            request_unpause(run)


def request_trial(study: Study, values: Values, seed: int | None = None) -> None:
    """Insert a trial with these values, the last one of those that wait. seed: train.seed; None: the recipe's."""
    wanted = Request(values=values, seed=seed, id=secrets.token_hex(8))
    write_atomic(study.control / f"add-{time.time_ns():020d}-{wanted.id}.json", msgspec.json.encode(wanted))


def another_seed(study: Study, values: Values) -> int:
    """A seed that no trial with these values has, and none that waits: the difference of results is then noise."""
    seeds = [trial.seed for trial in study.trials() if trial.values == values]
    seeds += [request.seed or 0 for _, request in waiting_trials(study) if request.values == values]
    return max(seeds, default=study.recipe.train.seed - 1) + 1


def waiting_trials(study: Study) -> list[tuple[Path, Request]]:
    """The inserted trials that have not started, the next one first; files that cannot be read are left out."""
    found: list[tuple[Path, Request]] = []
    for path in sorted(study.control.glob("add-*.json")):
        with contextlib.suppress(OSError, ParseError):
            found.append((path, read_json(path, Request)))
    return found


def move_waiting(waiting: list[tuple[Path, Request]], index: int, to: int) -> None:
    """Move the waiting trial at `index` to the place `to`, both from 0. Raises DiskError.

    Their files change names one after the other; one that has started meanwhile stays as it is.
    """
    stamps = [path.name.split("-")[1] for path, _ in waiting]
    order = [*waiting[:index], *waiting[index + 1 :]]
    order.insert(to, waiting[index])
    for stamp, (path, _) in zip(stamps, order, strict=True):
        name = "-".join(("add", stamp, *path.name.split("-")[2:]))
        try:
            path.rename(path.with_name(name))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DiskError.from_oserror(error, path, kept="the trials wait in their order") from None


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
