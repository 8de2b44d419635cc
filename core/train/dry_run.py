"""A training's shapes on many GPUs, checked on one machine: `python -P -m core.train.dry_run`, a child job.

Reads a `DryRun` as JSON from standard input, makes the model of rank 0 with torch's fake process group, which
does not communicate, and prints a `DryRunResult`. No memory is touched but that of the tables of positions.
"""

from __future__ import annotations

import sys

import msgspec
import torch
import torch.distributed as dist
from msgspec import Struct
from torch.testing._internal.distributed.fake_pg import FakeStore

from core.model.device import Device
from core.recipe.schema import Recipe
from core.train.distributed import ProcessGroup, local
from core.train.fully_sharded import FullyShardedDataParallel
from core.train.muon_exchange import assign_owners
from core.train.optimizer import optimizers


class DryRun(Struct, frozen=True, kw_only=True):
    recipe: Recipe
    vocab_size: int
    gpus: int


class DryRunResult(Struct, frozen=True, kw_only=True):
    weights: int
    """Bytes of the weights of rank 0, which has the largest part."""
    matrices: int
    """Of the matrices that Muon orthogonalises, those of the rank with most of them; 0 without Muon."""


def dry_run(request: DryRun) -> DryRunResult:
    """Shard the model as rank 0 of `gpus`. Raises ParamGroupError, as the training would."""
    dist.init_process_group("fake", rank=0, world_size=request.gpus, store=FakeStore())
    try:
        group = ProcessGroup(0, request.gpus)
        device = Device(name="cpu", dtype=torch.bfloat16, description="")
        model = FullyShardedDataParallel(request.recipe, request.vocab_size, device, group).model
        weights = sum(local(parameter).nbytes for parameter in model.parameters())
        shapes = [
            parameter.shape
            for optimizer in optimizers(model, request.recipe.train, group=group)
            if type(optimizer).__name__ == "Muon"
            for settings in optimizer.param_groups
            for parameter in settings["params"]
        ]
        owners = assign_owners(shapes, request.gpus)
        return DryRunResult(weights=weights, matrices=max(map(owners.count, set(owners)), default=0))
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    result = dry_run(msgspec.json.decode(sys.stdin.buffer.read(), type=DryRun))
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
