"""The options that say where a run trains, taken together."""

from __future__ import annotations

from msgspec import Struct

from core.errors import UsageError
from core.plural import plural
from core.storage.workspace import Workspace
from core.targets.template import find_target


class PlacementError(UsageError):
    doing = "start the run"


class Placement(Struct, frozen=True, kw_only=True):
    """Where the processes of a run are started."""

    target: str = ""
    """Empty: this machine."""
    nodes: int = 1
    processes: int = 1
    """Of all nodes together."""


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
