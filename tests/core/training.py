"""Driving a trainer in tests, and reading its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import torch
from safetensors.torch import load_file

from core.events import Event, Metric
from core.model.device import Device
from core.storage.artifact import Artifact, seal
from core.train.checkpoint import newest_checkpoint
from core.train.commands import Commands, Stop
from core.train.trainer import Trainer

CPU = Device(name="cpu", dtype=torch.float32, description="")

OBJECTIVES = {
    "causal": (),
    "masked": ("model.objective=masked",),
    "masked as BERT": ("model.objective=masked", "train.mask=fixed"),
}
"""Training objectives, as overrides of a recipe."""

E = TypeVar("E", bound=Event)


def train(
    trainer: Trainer,
    on_step: Callable[[Metric], Commands | None] = lambda _: None,
    events: list[Event] | None = None,
) -> list[Event]:
    """Run a trainer to its end and return its events, which are also appended to `events`.

    on_step: called after each step; returns the commands to send.
    """
    events = [] if events is None else events
    stream, commands = trainer.run(), None
    while True:
        try:
            event = stream.send(commands)
        except StopIteration:
            return events
        events.append(event)
        commands = on_step(event) if isinstance(event, Metric) else None


def of_type(kind: type[E], events: list[Event]) -> Iterator[E]:
    return (event for event in events if isinstance(event, kind))


def newest_tensors(directory: Path) -> dict[str, torch.Tensor]:
    """Weights, optimizer states and random states of the newest checkpoint."""
    newest, _ = newest_checkpoint(directory)
    assert newest is not None
    return checkpoint_tensors(newest.path)


def checkpoint_tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {**load_file(checkpoint / "model.safetensors"), **load_file(checkpoint / "train.safetensors")}


def tensors_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether both have the same names and bit-identical values."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def stop_at(step: int) -> Callable[[Metric], tuple[Stop, ...] | None]:
    return lambda metric: (Stop(),) if metric.step == step else None


def checkpoint_steps(directory: Path) -> list[int]:
    return [int(Artifact.open(path).facts["step"]) for path in sorted(directory.glob("step-*"))]


def flip_bit(data: bytes, bit: int) -> bytes:
    copy = bytearray(data)
    copy[bit // 8] ^= 1 << bit % 8
    return bytes(copy)


def edit_manifest(checkpoint: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Apply `change` to the manifest of a checkpoint and write it with a valid seal."""
    manifest = msgspec.json.decode((checkpoint / "manifest.json").read_bytes())
    change(manifest)
    (checkpoint / "manifest.json").write_bytes(seal(msgspec.json.encode(manifest)))
