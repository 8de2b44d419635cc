"""What the host of a mirrored run says of it beyond its files: its place in the queue there, and its checkpoints.

    <run>/remote.json    written by the process that mirrors the run

The checkpoints stay on the host, where they can generate text: `llmtui.clients.remote_inference`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from core.checkpoints import checkpoint_name, checkpoint_paths, readable_checkpoints, step_of
from core.parsing import Int64, ParseError, read_json
from core.storage.artifact import Artifact, Facts, Manifest
from core.storage.files import write_atomic

if TYPE_CHECKING:
    from core.runs.directory import Run

FILE = "remote.json"

REMOTE_CHECKPOINTS = "remote-checkpoints"
"""Name in a mirror of the directory of checkpoints on the host. It does not exist: such a path names one of them."""


class RemoteCheckpoint(Struct, frozen=True, kw_only=True):
    """A checkpoint on the host."""

    step: Int64
    made_at: float
    """Seconds since 1970, by the host's clock."""
    slice_loss: float | None = None
    """See `core.checkpoints.validation_loss`."""
    bits_per_byte: float | None = None
    bound: bool = False


class RemoteState(Struct, frozen=True, kw_only=True):
    """remote.json."""

    queue_place: Int64 = 0
    """1 for the first of the runs that wait on the host; 0 for a run that does not wait."""
    checkpoints: tuple[RemoteCheckpoint, ...] = ()
    """Oldest first."""


def read_remote_state(run_directory: Path) -> RemoteState:
    """What the host said last; an empty state before that."""
    try:
        return read_json(run_directory / FILE, RemoteState)
    except (OSError, ParseError):
        return RemoteState()


def write_remote_state(run_directory: Path, state: RemoteState) -> None:
    """Raises OSError."""
    write_atomic(run_directory / FILE, msgspec.json.encode(state), durable=False)


def describe_checkpoint(checkpoint: Artifact) -> RemoteCheckpoint:
    """What the host says of one of its checkpoints."""
    facts = checkpoint.facts
    loss, bits = facts.get("slice_loss"), facts.get("bits_per_byte")
    return RemoteCheckpoint(
        step=step_of(checkpoint.path),
        made_at=checkpoint.manifest.made_at,
        slice_loss=loss if isinstance(loss, float) else None,
        bits_per_byte=bits if isinstance(bits, float) else None,
        bound=bool(facts.get("bound")),
    )


def inference_checkpoints(run: Run) -> list[Artifact]:
    """The readable checkpoints of `run` that can generate text, oldest first: of a mirror those on its host, too.

    Of those on the host only the facts are here; one that has been fetched is here alone.
    """
    here = readable_checkpoints(run.checkpoints)
    if not run.host:
        return here
    steps = {step_of(checkpoint.path) for checkpoint in here}
    there = [
        Artifact(_remote_path(run, known.step), _manifest(known))
        for known in read_remote_state(run.path).checkpoints
        if known.step not in steps
    ]
    return sorted([*here, *there], key=lambda checkpoint: step_of(checkpoint.path))


def inference_paths(run: Run) -> list[Path]:
    """The paths of `inference_checkpoints`, newest first; those here may be damaged."""
    here = checkpoint_paths(run.checkpoints)
    if not run.host:
        return here
    steps = {step_of(path) for path in here}
    there = [known.step for known in read_remote_state(run.path).checkpoints if known.step not in steps]
    return sorted([*here, *(_remote_path(run, step) for step in there)], key=step_of, reverse=True)


def inference_path(run: Run, name: str) -> Path:
    """The path of the checkpoint called `name`, which may have been deleted."""
    here = run.checkpoints / name
    return here if not run.host or here.is_dir() else run.path / REMOTE_CHECKPOINTS / name


def _remote_path(run: Run, step: int) -> Path:
    return run.path / REMOTE_CHECKPOINTS / checkpoint_name(step)


def _manifest(known: RemoteCheckpoint) -> Manifest:
    facts: Facts = {"bound": known.bound}
    if known.slice_loss is not None:
        facts["slice_loss"] = known.slice_loss
    if known.bits_per_byte is not None:
        facts["bits_per_byte"] = known.bits_per_byte
    return Manifest(stage="train", fingerprint="", facts=facts, made_at=known.made_at)
