"""The options that say where a run trains, taken together."""

from __future__ import annotations

from msgspec import Struct

from core.errors import UsageError
from core.plural import plural
from core.runs.directory import Run
from core.storage.workspace import Workspace
from core.targets.start import cancel_command
from core.targets.template import LOCAL, TargetError, find_target


class PlacementError(UsageError):
    doing = "start the run"


class Placement(Struct, frozen=True, kw_only=True):
    """Where the processes of a run are started."""

    target: str = ""
    """Empty: this machine."""
    nodes: int = 1
    processes: int = 1
    """Of all nodes together."""

    @classmethod
    def of(cls, run: Run) -> Placement:
        """Where `run` was trained last."""
        return cls(target=run.file.target, nodes=run.file.nodes, processes=run.processes)


def resolve_placement(name: str, nodes: int | None, processes: int | None, workspace: Workspace) -> Placement:
    """The placement named by --on, --nodes and --processes. Raises TargetError, PlacementError."""
    target = find_target(name, workspace)
    if target is None:
        if nodes not in (None, 1):
            raise PlacementError("this machine is one node", todo="name a target: --on ssh:HOST,HOST or --on slurm")
        return Placement(processes=processes or 1)
    if target.hosts and nodes not in (None, len(target.hosts)):
        raise PlacementError(f"--nodes {nodes} does not fit {plural(len(target.hosts), 'host')}", where=f"--on {name}")
    count = len(target.hosts) or nodes or 1
    processes = processes or count
    if processes % count:
        raise PlacementError(
            f"{plural(processes, 'process')} cannot be divided evenly among {plural(count, 'node')}",
            where="--processes",
            todo=f"such as {count * max(1, processes // count)} or {count * (processes // count + 1)}",
        )
    return Placement(target=name, nodes=count, processes=processes)


def resumed_placement(
    run: Run, name: str | None, nodes: int | None, processes: int | None, workspace: Workspace
) -> Placement:
    """The placement of the next attempt at `run`. What is not given stays; on another target the number of processes
    is that of a new run there.

    Raises TargetError, PlacementError; RemoteRunError, and PlacementError if a job of the run exists, if it changes.
    """
    before = Placement.of(run)
    if name is None and nodes is None and processes is None:
        return before
    target = name or before.target or LOCAL
    if target == (before.target or LOCAL):
        nodes, processes = nodes or before.nodes, processes or before.processes
    place = resolve_placement(target, nodes, processes, workspace)
    if place != before:
        run.require_local()
        _require_no_job(run, workspace)
    return place


def _require_no_job(run: Run, workspace: Workspace) -> None:
    try:
        target = find_target(run.file.target, workspace) if run.file.target else None
        cancel = cancel_command(target, run.path) if target else ""
    except TargetError:  # its template is gone
        return
    if cancel:
        raise PlacementError(
            f"a job of it is still in the queue of {run.file.target}, and would train it, too",
            where=run.id,
            todo=f"end the job first: {cancel}",
        )


def placement_changes(before: Placement, after: Placement) -> list[str]:
    """What differs, one clause each."""
    names = [("on", before.target or "this machine", after.target or "this machine")]
    names += [(name, str(getattr(before, name)), str(getattr(after, name))) for name in ("nodes", "processes")]
    return [f"{name} {old} → {new}" for name, old, new in names if old != new]
