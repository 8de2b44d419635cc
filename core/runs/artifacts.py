"""The artifacts of the data stages in a workspace: which there are, which runs use them, and deleting them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from core.errors import BusyError, UsageError
from core.runs.deletion import bytes_in, remove_locked
from core.runs.directory import Run
from core.runs.lookup import all_runs
from core.runs.summary import Summary
from core.storage.artifact import Artifact, DamagedError, Facts
from core.storage.locks import holder
from core.storage.workspace import Workspace

FOLDERS = {"download": "documents", "preprocess": "clean", "tokenize": "tokens"}
"""Directories of the data stages' artifacts, in the order of the stages."""

_FINGERPRINT = re.compile(r"-[0-9a-f]{16}(?=\.part-|\Z)")
_PARTIAL = ".partial"


State = Literal["complete", "being made", "unfinished", "damaged"]


class ArtifactUsedError(UsageError):
    doing = "delete this artifact"


class ArtifactBusyError(BusyError):
    doing = "delete this artifact"


class StoredArtifact(Struct, frozen=True, kw_only=True):
    """An artifact of a data stage on this disk."""

    path: str
    name: str
    """Without the fingerprint: the name of its corpus."""
    stage: str
    state: State = "complete"
    """unfinished: making it was interrupted; it continues with the run."""
    problem: str = ""
    """What is wrong with a damaged one."""
    bytes: int
    """Size on disk."""
    facts: Facts = {}
    recipe: dict[str, Any] = {}
    """The section of the recipe that made it."""
    inputs: dict[str, str] = {}
    """Fingerprints of the artifacts it was made from, by stage."""
    made_at: float = 0.0
    """Seconds since the epoch; 0 if unknown."""
    runs: tuple[str, ...] = ()
    """Names of the runs that use it, newest first."""


Users = dict[tuple[str, str], list[str]]
"""Names of runs by stage and directory name of an artifact."""


def users_of(runs: Iterable[tuple[str, Summary]]) -> Users:
    """The runs that use each artifact. runs: name and summary of each, newest first."""
    users: Users = {}
    for name, summary in runs:
        for stage in FOLDERS:
            if made := summary.stages[stage].artifact:
                users.setdefault((stage, Path(made).name), []).append(name)
    return users


def artifact_path(run: Run, summary: Summary, stage: str) -> str:
    """Directory of the artifact that a data stage of `run` made or found; empty before the stage has finished.

    The journal has the path of that time. If the data directory was moved since, or the run was copied into this one,
    it is the artifact of the same name, and so of the same fingerprint, that is here.
    """
    made = summary.stages[stage].artifact
    here = run.path.parent.parent / "artifacts" / FOLDERS[stage] / Path(made).name
    return str(here) if made and here.is_dir() else made


def list_artifacts(workspace: Workspace, users: Users | None = None) -> list[StoredArtifact]:
    """Every artifact of the data stages, complete or not, by name and stage. Reads manifests only."""
    found = [
        _stored(path, stage, users or {})
        for stage, folder in FOLDERS.items()
        for path in _directories(workspace.artifacts / folder)
    ]
    order = list(FOLDERS)
    return sorted(found, key=lambda artifact: (artifact.name, order.index(artifact.stage), -artifact.made_at))


def remove_artifact(workspace: Workspace, artifact: StoredArtifact) -> None:
    """Delete `artifact`. Raises ArtifactUsedError if a run uses it, ArtifactBusyError if one makes it, DiskError."""
    path = Path(artifact.path)
    users = users_of((run.name, run.summary()) for run in all_runs(workspace)).get((artifact.stage, path.name))
    if users:
        raise ArtifactUsedError(f"{', '.join(users[:3])} uses it", where=str(path), todo="delete its runs first")
    remove_locked(path, [lock_file(path)], ArtifactBusyError("a run is making it", where=str(path)))


def artifact_name(path: Path) -> str:
    """An artifact's name without the fingerprint."""
    return _FINGERPRINT.sub("", path.name.removesuffix(_PARTIAL))


def _directories(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.name.startswith("."):
            yield path


def lock_file(path: Path) -> Path:
    """The lock of the process that makes it, see `core.storage.artifact.Staging`."""
    return path.with_name(f".{path.name.removesuffix(_PARTIAL)}.lock")


def _stored(path: Path, stage: str, users: Users) -> StoredArtifact:
    name, runs = artifact_name(path), tuple(users.get((stage, path.name), ()))
    if path.name.endswith(_PARTIAL):
        busy = holder(lock_file(path)) is not None
        state: State = "being made" if busy else "unfinished"
        return StoredArtifact(path=str(path), name=name, stage=stage, state=state, bytes=bytes_in(path))
    try:
        artifact = Artifact.open(path)
    except DamagedError as error:
        return StoredArtifact(
            path=str(path),
            name=name,
            stage=stage,
            state="damaged",
            problem=error.what,
            bytes=bytes_in(path),
            runs=runs,
        )
    manifest = artifact.manifest
    return StoredArtifact(
        path=str(path),
        name=name,
        stage=stage,
        bytes=sum(file.bytes for file in manifest.files.values()),
        facts=manifest.facts,
        recipe=manifest.recipe,
        inputs=manifest.inputs,
        made_at=manifest.made_at,
        runs=runs,
    )
