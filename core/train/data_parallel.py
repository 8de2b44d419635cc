"""Data-parallel training with a whole model on each rank; gradients are summed during the backward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from core.model.gpt import GPT
from core.model.objectives import Examples
from core.model.weights import load_weights
from core.train.distributed import PendingReduction, ProcessGroup

BUCKET_BYTES = 25 * 2**20
"""Gradients summed by one operation, as in torch's DistributedDataParallel: larger operations use the network better,
but the last one, which nothing hides, takes longer."""


class DataParallel:
    """A model that the ranks of `group` train together, each on its share of every batch.

    Gradients are *sums* over target positions, not means. They are reduced in buckets, in the reverse order of the
    parameters: during the backward pass of the last micro-batch each bucket is sent as soon as it is complete.

    torch's DistributedDataParallel divides by the number of ranks, waits for ever if memory runs out on one rank, and
    needs a backward pass on a rank without sequences.
    """

    repeatable = True
    """Whether one rank may repeat the passes of a step, without the others."""

    def __init__(self, model: GPT, group: ProcessGroup | None = None) -> None:
        self.model, self._group = model, group or ProcessGroup()
        self._buckets = _split(list(reversed(list(model.parameters()))))
        self._bucket_of = {id(one): number for number, bucket in enumerate(self._buckets) for one in bucket}
        self._missing: list[set[int]] = []
        """Of each bucket the parameters without a final gradient; empty outside the last backward pass of a step."""
        self._pending: list[PendingReduction] = []
        if self._group.world_size > 1:
            for parameter in model.parameters():
                parameter.register_post_accumulate_grad_hook(self._on_gradient)  # type: ignore[no-untyped-call]

    def micro_batches(self, batch: Examples, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Ids, targets and weights of this rank's share of a batch, at most `size` sequences at a time."""
        self._missing = []  # the last pass of an attempt for which memory ran out may have left some
        last = -(-len(batch.ids) // size)
        for number, one in enumerate(batch.micro_batches(size, self.model.device), 1):
            if number == last:
                self._missing = [{id(parameter) for parameter in bucket} for bucket in self._buckets]
            yield one

    def reduce_gradients(self, totals: Tensor) -> Tensor:
        """Sum the gradients and `totals`, in place, over all ranks. Returns the norm of the gradients, a scalar."""
        if self._group.world_size > 1:
            while len(self._pending) < len(self._buckets):  # on a rank without sequences: all of them
                self._reduce_next()
            self._group.all_reduce([totals])
            for bucket, pending in zip(self._buckets, self._pending, strict=True):
                for parameter, gradient in zip(bucket, pending.wait(), strict=True):
                    parameter.grad = gradient
            self._missing, self._pending = [], []
        return torch.nn.utils.get_total_norm(self.gradients())

    def gradients(self) -> list[Tensor]:
        """Gradients of all parameters; zeros on a rank that had no target for one."""
        return [_gradient(parameter) for parameter in self.model.parameters()]

    def named_gradients(self) -> dict[str, Tensor]:
        """The gradients that `gradients` returns, by the name of the parameter."""
        names = [name for name, _ in self.model.named_parameters()]
        return dict(zip(names, self.gradients(), strict=True))

    @contextlib.contextmanager
    def whole_model(self) -> Iterator[None]:
        """Within it each rank can use the model by itself, in inference mode. Collective."""
        yield

    def initial_model(self) -> GPT | None:
        """The model with its random weights, for rank 0 to load others."""
        return self.model

    def set_weights(self, initial: GPT | None) -> None:
        """Give each rank the weights of `initial` on rank 0. Collective."""
        self._group.broadcast(self.model.parameters())

    def load_weights(self, directory: Path) -> None:
        """Load the weights in `directory`. Raises WeightsError."""
        load_weights(self.model, directory)

    def place(self, full: Tensor, parameter: nn.Parameter) -> Tensor:
        """Optimizer state `full` from a checkpoint in the form in which this rank has that of `parameter`."""
        return full.to(parameter.device)

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensor that a checkpoint contains for `tensor`, on rank 0. Collective."""
        return tensor

    def _on_gradient(self, parameter: Tensor) -> None:
        if not self._missing:
            return
        self._missing[self._bucket_of[id(parameter)]].discard(id(parameter))
        # in this order on every rank
        while len(self._pending) < len(self._buckets) and not self._missing[len(self._pending)]:
            self._reduce_next()

    def _reduce_next(self) -> None:
        """Start to sum the next bucket. If memory runs out afterwards and the pass is repeated, the sum stands."""
        bucket = self._buckets[len(self._pending)]
        self._pending.append(self._group.start_all_reduce([_gradient(parameter) for parameter in bucket]))
        for parameter in bucket:  # the bucket has a copy
            parameter.grad = None


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _split(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Consecutive `parameters` in buckets of about BUCKET_BYTES."""
    buckets: list[list[nn.Parameter]] = []
    size = BUCKET_BYTES
    for parameter in parameters:
        if size >= BUCKET_BYTES:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.nbytes
    return buckets
