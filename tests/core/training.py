"""Driving a trainer in tests, and looking at what it has left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file

from core.events import Event, Metric
from core.model.device import Device
from core.train import checkpoint as checkpoints
from core.train.commands import Commands
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
    found, _ = checkpoints.newest_checkpoint(directory)
    assert found is not None
    return tensors(found.path)


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {**load_file(checkpoint / "model.safetensors"), **load_file(checkpoint / "train.safetensors")}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether they are equal to the bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
