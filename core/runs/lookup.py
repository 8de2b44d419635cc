"""Opening runs: all of a workspace, or those that a name given by the user means."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from core.run_names import RunNotFoundError, match_runs, run_ids
from core.runs.directory import Run
from core.runs.errors import InvalidRunError
from core.storage.workspace import Workspace


def iter_runs(workspace: Workspace) -> Iterator[Run | InvalidRunError]:
    """Every run directory, newest first: the run, or why it cannot be read."""
    for run_id in run_ids(workspace):
        try:
            yield Run.open(workspace.runs / run_id)
        except InvalidRunError as error:
            yield error


def all_runs(workspace: Workspace) -> list[Run]:
    """Every readable run, newest first."""
    return [run for run in iter_runs(workspace) if isinstance(run, Run)]


def find_run(workspace: Workspace, query: str | None = None, among: list[Run] | None = None) -> Run:
    """The newest of `find_runs`."""
    return find_runs(workspace, query, among)[0]


def find_runs(workspace: Workspace, query: str | None = None, among: list[Run] | None = None) -> list[Run]:
    """The runs that `query` means, see `match_runs`; newest first, at least one.

    among: the runs to choose from, newest first; default: all readable ones. Raises RunNotFoundError, and
    InvalidRunError if `query` means a run that cannot be read, and no other.
    """
    if among is None and query is not None and query in run_ids(workspace):
        return [Run.open(workspace.runs / query)]
    runs = {run.id: run for run in (all_runs(workspace) if among is None else among)}
    try:
        return [runs[run_id] for run_id in match_runs(query, runs)]
    except RunNotFoundError:
        if among is None and query is not None:
            with contextlib.suppress(RunNotFoundError):
                unreadable = match_runs(query, (run_id for run_id in run_ids(workspace) if run_id not in runs))
                return [Run.open(workspace.runs / run_id) for run_id in unreadable]
        raise
