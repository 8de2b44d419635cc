"""One training step: gradient accumulation over micro-batches, reduction over ranks, and the optimizer step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from core.model.objectives import Examples
from core.recipe.schema import Train
from core.train import foreach
from core.train.checkpoint import get_random_states, set_random_states
from core.train.data_parallel import DataParallel
from core.train.out_of_memory import halve_on_out_of_memory


class StepTotals(NamedTuple):
    """The result of accumulation, over all ranks."""

    loss: float
    """Mean, in nats per target position."""
    grad_norm: float
    """Norm of the gradient of the mean loss, before clipping."""
    positions: float
    """Number of target positions. The gradients are still sums over them."""

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


def accumulate_gradients(parallel: DataParallel, batch: Examples, micro_batch: int, recipe: Train) -> Tensor:
    """Add the gradients of the *summed* loss of `batch` to the model, `micro_batch` sequences at a time.

    Returns the sum of the losses in nats, a scalar on the model's device, without synchronising it. Sums rather than
    means, so that every position has the same weight however the batch is split into micro-batches and ranks.
    """
    model = parallel.model
    nats = torch.zeros((), device=model.device)
    for ids, targets, weights in parallel.micro_batches(batch, micro_batch):
        loss = model.loss(ids, targets, weights=weights, label_smoothing=recipe.label_smoothing, z_loss=recipe.z_loss)
        loss.objective.backward()  # type: ignore[no-untyped-call]
        nats += loss.nats
    return nats


def accumulate_within_memory(
    parallel: DataParallel, batch: Examples, micro_batch: int, recipe: Train
) -> tuple[Tensor, int]:
    """`accumulate_gradients`, halving `micro_batch` each time memory runs out; also returns the micro-batch used.

    Each attempt starts from zero gradients and the same random state. Raises the out-of-memory error of one sequence,
    or the first one where a rank cannot repeat its passes.
    """
    if not parallel.repeatable:
        return accumulate_gradients(parallel, batch, micro_batch, recipe), micro_batch
    random_states = get_random_states()

    def reset() -> None:
        parallel.model.zero_grad(set_to_none=True)
        set_random_states(random_states)

    return halve_on_out_of_memory(lambda size: accumulate_gradients(parallel, batch, size, recipe), micro_batch, reset)


def reduce_gradients(parallel: DataParallel, nats: Tensor, positions: int) -> StepTotals:
    """Sum gradients, losses and target positions over all ranks. Synchronises the device, once per step."""
    totals = torch.stack([nats, torch.tensor(float(positions)).to(nats)])
    norm = parallel.reduce_gradients(totals)
    total, count, length = torch.cat([totals, norm.view(1)]).tolist()
    count = max(1.0, count)
    return StepTotals(total / count, length / count, count)


def optimizer_step(parallel: DataParallel, optimizers: Sequence[Optimizer], totals: StepTotals, clip: float) -> None:
    """Divide the summed gradients by the target positions, clip their norm to `clip` (0: no clipping), and step."""
    scale = min(1.0, clip / (totals.grad_norm + 1e-6)) if clip else 1.0
    foreach.multiply_(parallel.gradients(), scale / totals.positions)
    for optimizer in optimizers:
        optimizer.step()
    parallel.model.zero_grad(set_to_none=True)
