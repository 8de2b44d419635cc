"""The checkpoints of a run: which exist, the newest, the best, the one of a step. Imports no torch.

A checkpoint is an artifact whose directory is named after its training step, as in `step-00000500`. What is in it is
the business of `core.train.checkpoint`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from core.storage.artifact import Artifact, DamagedError

PREFIX = "step-"

Which = int | Literal["last", "best"]
"""A training step, the newest checkpoint, or the one with the lowest validation loss."""


class DamagedCheckpoint(NamedTuple):
    """A checkpoint that cannot be read."""

    path: Path
    error: DamagedError

    def __str__(self) -> str:
        return f"{self.path.name}: {self.error.what}"


class Selection(NamedTuple):
    """The result of `select_checkpoint`."""

    checkpoint: Artifact | None
    skipped: list[DamagedCheckpoint]
    """Damaged checkpoints that might have been selected."""


def checkpoint_name(step: int) -> str:
    """The directory name of the checkpoint of a training step."""
    return f"{PREFIX}{step:08d}"


def step_of(checkpoint: Path) -> int:
    """The training step in a checkpoint's directory name; 0 if the name contains none."""
    digits = checkpoint.name.removeprefix(PREFIX)
    return int(digits) if digits.isdecimal() else 0


def validation_loss(checkpoint: Artifact) -> float:
    """Nats per token on the validation slice, comparable within a run; infinite if it was saved without evaluation."""
    return float(checkpoint.facts.get("slice_loss", math.inf))


def checkpoint_paths(directory: Path) -> list[Path]:
    """Directories of the checkpoints in `directory`, newest first. Their contents are not read."""
    found = (path for path in directory.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdecimal())
    return sorted((path for path in found if path.is_dir()), key=step_of, reverse=True)


def readable_checkpoints(directory: Path) -> list[Artifact]:
    """Checkpoints in `directory`, oldest first, without the damaged ones. Digests are not compared."""
    return _open_all(checkpoint_paths(directory)).readable[::-1]


def best_checkpoint(checkpoints: Iterable[Artifact]) -> Artifact | None:
    """The checkpoint with the lowest validation loss, of equal ones the newest; None if none was evaluated."""
    evaluated = [checkpoint for checkpoint in checkpoints if validation_loss(checkpoint) < math.inf]
    return min(evaluated, key=_best_first, default=None)


def nearest_checkpoint(checkpoints: Iterable[Artifact], step: int) -> Artifact | None:
    """The checkpoint whose weights are nearest to those that training step `step` starts from: the newest one before
    it, else the oldest one; None if there is none."""
    ordered = sorted(checkpoints, key=lambda checkpoint: step_of(checkpoint.path))
    before = [checkpoint for checkpoint in ordered if step_of(checkpoint.path) < step]
    return before[-1] if before else next(iter(ordered), None)


def select_checkpoint(directory: Path, which: Which, *, verify: bool = False) -> Selection:
    """The checkpoint `which` of those in `directory`. Damaged ones are skipped; "best" prefers evaluated checkpoints.

    verify: also compare the digest of every file, see `Artifact.open`.
    """
    paths = checkpoint_paths(directory)
    skipped: list[DamagedCheckpoint] = []
    if isinstance(which, int):
        paths = [path for path in paths if step_of(path) == which]
    elif which == "best":
        readable, skipped = _open_all(paths)
        paths = [checkpoint.path for checkpoint in sorted(readable, key=_best_first)]
    for path in paths:
        try:
            return Selection(Artifact.open(path, verify=verify), skipped)
        except DamagedError as error:
            skipped.append(DamagedCheckpoint(path, error))
    return Selection(None, skipped)


class _Opened(NamedTuple):
    readable: list[Artifact]
    damaged: list[DamagedCheckpoint]


def _open_all(paths: Iterable[Path]) -> _Opened:
    opened = _Opened([], [])
    for path in paths:
        try:
            opened.readable.append(Artifact.open(path))
        except DamagedError as error:
            opened.damaged.append(DamagedCheckpoint(path, error))
    return opened


def _best_first(checkpoint: Artifact) -> tuple[float, int]:
    return validation_loss(checkpoint), -step_of(checkpoint.path)
