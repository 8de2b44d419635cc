"""One step of the optimisers: a batch in pieces that fit the memory, and gradients that do not depend on the pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from core.model.gpt import GPT
from core.model.objectives import Examples
from core.recipe.schema import Train
from core.train import foreach
from core.train.checkpoint import put_random_states, random_states
from core.train.distributed import Ranks
from core.train.out_of_memory import halving


class Sums(NamedTuple):
    """What a step found, over all ranks."""

    loss: float
    """Nats per place with a target."""
    norm: float
    """Of the gradient of the mean loss."""
    places: float
    """With a target; the gradients are still sums over them."""

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.norm)


def accumulate(model: GPT, batch: Examples, micro_batch: int, recipe: Train) -> Tensor:
    """Add the gradients of the *sum* of `batch`'s losses to those of `model`, `micro_batch` sequences at a time.

    Returns the sum of the losses in nats. Sums, so that every place counts alike however they are divided into pieces
    and ranks; the device is not waited for.
    """
    nats = torch.zeros((), device=model.device)
    for ids, targets, weights in batch.micro_batches(micro_batch, model.device):
        loss = model.loss(ids, targets, weights=weights, label_smoothing=recipe.label_smoothing, z_loss=recipe.z_loss)
        loss.objective.backward()  # type: ignore[no-untyped-call]
        nats += loss.nats
    return nats


def accumulate_what_fits(model: GPT, batch: Examples, micro_batch: int, recipe: Train) -> tuple[Tensor, int]:
    """`accumulate`, and the micro-batch it was done with: where memory runs out, a half, a quarter, ... of this one.

    All is then done again with the same random numbers. What runs out with one sequence at a time is raised.
    """
    before = random_states()

    def again() -> None:
        model.zero_grad(set_to_none=True)
        put_random_states(before)

    return halving(lambda size: accumulate(model, batch, size, recipe), micro_batch, again)


def add_up(model: GPT, nats: Tensor, places: int, ranks: Ranks) -> Sums:
    """Bring together what every rank has accumulated. Waits for the device, once a step."""
    gradients = _gradients(model)
    totals = torch.stack([nats, torch.tensor(float(places)).to(nats)])
    ranks.sum([*gradients, totals])
    norm = torch.nn.utils.get_total_norm(gradients)
    total, count, length = torch.cat([totals, norm.view(1)]).tolist()
    count = max(1.0, count)
    return Sums(total / count, length / count, count)


def move(model: GPT, optimizers: Sequence[Optimizer], sums: Sums, clip: float) -> None:
    """Turn the summed gradients into those of the mean, no longer than `clip` (0: as long as they are), and step."""
    shorter = min(1.0, clip / (sums.norm + 1e-6)) if clip else 1.0
    foreach.multiply_(_gradients(model), shorter / sums.places)
    for optimizer in optimizers:
        optimizer.step()
    model.zero_grad(set_to_none=True)


def _gradients(model: GPT) -> list[Tensor]:
    """Those of all parameters, zero where a rank had nothing to learn from."""
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
