"""The contents of run.json: the recipe of a run, and what the run is part of."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from core import __version__
from core.parsing import ParseError, parse_json
from core.recipe.schema import Recipe
from core.runs.errors import InvalidRunError

SCHEMA = 1


class Parent(Struct, frozen=True, kw_only=True):
    """The checkpoint that a branch began with, see `core.runs.branch`."""

    run: str
    """Id of the run; it may have been deleted."""
    step: int


TrialOrigin = Literal["sampled", "inserted"]
"""Whether the study chose the values of a trial, or the user."""


class StudyTrial(Struct, frozen=True, kw_only=True):
    """Which trial of which study a run is, see `core.tune.trials`."""

    id: str
    """Of the study."""
    number: int
    values: dict[str, Any]
    """Of the fields that vary."""
    origin: TrialOrigin = "sampled"
    request: str = ""
    """Id of the request of an inserted trial, see `core.tune.requests`."""


class RunFile(Struct, frozen=True, kw_only=True):
    """run.json: the recipe of the run."""

    schema: int = SCHEMA
    recipe: Recipe
    made_at: float
    processes: int = 1
    """Number of processes that train it."""
    target: str = ""
    """Where they are started, as `core.targets.template.find_target` takes it; empty: on this machine."""
    nodes: int = 1
    """Of the target; `processes` are those of all nodes together."""
    parent: Parent | None = None
    version: str = __version__
    study: StudyTrial | None = None
    host: str = ""
    """Of the mirror of a run of another machine: the name of that host, see `core.remote`."""
    stop_at: float = 1.0
    """Share of its training after which it is evaluated, saved and stopped; 1: at its end."""


class _Schema(Struct):
    schema: int


def read_run_file(directory: Path) -> RunFile:
    """The run.json of the run in `directory`. Raises InvalidRunError."""
    try:
        raw = (directory / "run.json").read_bytes()
        try:
            file = parse_json(raw, RunFile)
        except ParseError:
            if parse_json(raw, _Schema).schema <= SCHEMA:
                raise
            file = None
    except FileNotFoundError:
        raise InvalidRunError("it has no run.json", path=directory) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidRunError(f"run.json cannot be read ({reason})", path=directory) from None
    except ParseError as error:
        raise InvalidRunError(f"run.json cannot be read ({error})", path=directory) from None
    if file is None or file.schema > SCHEMA:
        raise InvalidRunError("it was made by a newer version of llmtui", path=directory, todo="update llmtui")
    return file
