"""Driving a trainer in tests, and looking at what it has left."""

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
"""What a recipe can ask a model to learn, as overrides."""

E = TypeVar("E", bound=Event)


def train(
    trainer: Trainer, ask: Callable[[Metric], Commands | None] = lambda _: None, said: list[Event] | None = None
) -> list[Event]:
    """Drive a trainer to its end; `ask` says what to send in after each step. What it says goes into `said`."""
    said = [] if said is None else said
    talk, commands = trainer.run(), None
    while True:
        try:
            event = talk.send(commands)
        except StopIteration:
            return said
        said.append(event)
        commands = ask(event) if isinstance(event, Metric) else None


def of(kind: type[E], events: list[Event]) -> Iterator[E]:
    return (event for event in events if isinstance(event, kind))


def saved_tensors(directory: Path) -> dict[str, torch.Tensor]:
    """Weights, averages and random states of the newest checkpoint."""
    found, _ = newest_checkpoint(directory)
    assert found is not None
    return tensors(found.path)


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {**load_file(checkpoint / "model.safetensors"), **load_file(checkpoint / "train.safetensors")}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether they are equal to the bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def stop_at(step: int) -> Callable[[Metric], tuple[Stop, ...] | None]:
    return lambda metric: (Stop(),) if metric.step == step else None


def steps_in(directory: Path) -> list[int]:
    return [int(Artifact.open(path).facts["step"]) for path in sorted(directory.glob("step-*"))]


def flipped(data: bytes, bit: int) -> bytes:
    copy = bytearray(data)
    copy[bit // 8] ^= 1 << bit % 8
    return bytes(copy)


def rewrite(checkpoint: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change the manifest of a checkpoint as another version might have written it."""
    manifest = msgspec.json.decode((checkpoint / "manifest.json").read_bytes())
    change(manifest)
    (checkpoint / "manifest.json").write_bytes(seal(msgspec.json.encode(manifest)))
