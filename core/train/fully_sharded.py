"""Fully sharded data parallelism (FSDP2): each rank keeps a part of every weight, gradient and optimizer state.

A block's weights are gathered for its forward and backward pass, and its gradients are summed and cut up after it,
while its neighbours compute. Checkpoints are those of a whole model: any number of processes resumes them, sharded or
not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from core.model.device import Device
from core.model.gpt import GPT
from core.model.loss import IGNORE
from core.model.objectives import Examples
from core.model.weights import WeightsError
from core.recipe.schema import Recipe
from core.train.data_parallel import DataParallel
from core.train.distributed import ProcessGroup, local


class FullyShardedDataParallel(DataParallel):
    """A model of which each rank has a part. All methods are collective.

    If memory runs out on one rank, the step cannot be repeated: the others already wait for it in the next collective.
    """

    repeatable = False

    def __init__(self, recipe: Recipe, vocab_size: int, device: Device, group: ProcessGroup) -> None:
        self._recipe, self._vocab_size, self._dtype = recipe, vocab_size, device.dtype
        with torch.device("meta"):
            model = GPT(recipe.model, vocab_size, dtype=device.dtype)
        mesh = init_device_mesh(device.name, (group.world_size,))
        # a block's weights travel rounded, as each of its products would round them; sums of gradients are float32
        block_policy = MixedPrecisionPolicy(param_dtype=device.dtype, reduce_dtype=torch.float32)
        for block in model.h:
            fully_shard(block, mesh=mesh, mp_policy=block_policy)
        fully_shard(model, mesh=mesh, mp_policy=MixedPrecisionPolicy())
        register_fsdp_forward_method(model, "loss")
        buffers = {name: buffer.to(device.torch) for name, buffer in model.named_buffers()}
        model.to_empty(device=device.torch)
        for name, buffer in model.named_buffers():  # tables that are in no checkpoint
            buffer.copy_(buffers[name])
        for module in _sharded_modules(model):
            module.set_gradient_divide_factor(1.0)  # sums, not means; gloo has no means
            module.set_force_sum_reduction_for_comms(True)
        # otherwise the first module that runs, such as a block for a sample, is taken for the root
        model._get_fsdp_state()._lazy_init()  # type: ignore[operator]
        self._passes_of = -(-recipe.train.batch_size // group.world_size)
        """Sequences of the rank that has most of them."""
        self.model, self._group = model, group

    # -- a step ---------------------------------------------------------------------------------------------------

    def micro_batches(self, batch: Examples, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """As many on each rank; one that has no sequences left takes one without targets."""
        device = self.model.device
        yield from batch.micro_batches(size, device)
        ids = torch.zeros((1, batch.ids.shape[1]), dtype=torch.int64, device=device)
        weights = None if batch.weights is None else torch.zeros(ids.shape, device=device)
        for _ in range(-(-len(batch.ids) // size), -(-self._passes_of // size)):
            yield ids, torch.full_like(ids, IGNORE), weights

    def reduce_gradients(self, totals: Tensor) -> Tensor:
        """Sum `totals` over all ranks, in place. Returns the norm of the gradients, which are summed already."""
        square = torch.nn.utils.get_total_norm(self.gradients()).square().view(1).to(totals)
        self._group.all_reduce([totals, square])
        return square.sqrt().squeeze()

    def gradients(self) -> list[Tensor]:
        """This rank's part of each gradient."""
        return [local(parameter.grad) for parameter in self.model.parameters() if parameter.grad is not None]

    # -- whole weights --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def whole_model(self) -> Iterator[None]:
        """Gather all weights, so that each rank can use the model by itself, in inference mode."""
        for module in _sharded_modules(self.model):
            module.unshard()
        for block in self.model.h:
            block.set_reshard_after_forward(False)  # type: ignore[operator]
        try:
            yield
        finally:
            for block in self.model.h:
                block.set_reshard_after_forward(True)  # type: ignore[operator]
            for module in _sharded_modules(self.model):
                module.reshard()

    def initial_model(self) -> GPT | None:
        """A whole model on the CPU with the recipe's random weights, on rank 0."""
        if not self._group.is_main:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._recipe.train.seed)
            return GPT(self._recipe.model, self._vocab_size)

    def set_weights(self, initial: GPT | None) -> None:
        """Give each rank its part of the weights of `initial`, which rank 0 has."""
        whole = {} if initial is None else dict(initial.named_parameters())
        for name, parameter in self.model.named_parameters():
            full = whole[name].detach() if whole else torch.empty(parameter.shape)
            _set_part(parameter, full.to(self.model.device), source=0)

    def load_weights(self, directory: Path) -> None:
        """Load this rank's part of the weights in `directory`, one tensor after the other. Raises WeightsError."""
        try:
            with safe_open(directory / "model.safetensors", framework="pt") as file:
                for name, parameter in self.model.named_parameters():
                    _set_part(parameter, file.get_tensor(name).to(parameter.device))
        except (OSError, SafetensorError, RuntimeError, ValueError) as error:
            raise WeightsError(f"model.safetensors cannot be read ({error})", where=str(directory)) from None

    def place(self, full: Tensor, parameter: nn.Parameter) -> Tensor:
        """Optimizer state `full` in the form of `parameter`: this rank's part; a number as it is."""
        full = full.to(self.model.device)
        assert isinstance(parameter, DTensor)
        if full.shape != parameter.shape:
            return full
        return distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=None)

    def gather(self, tensor: Tensor) -> Tensor:
        """The whole of a sharded tensor, on the CPU; on other ranks than 0 an empty one."""
        if not isinstance(tensor, DTensor):
            return tensor
        full = tensor.full_tensor()
        return full.cpu() if self._group.is_main else full.new_empty(0, device="cpu")


def _sharded_modules(model: GPT) -> Iterator[FSDPModule]:
    return (module for module in model.modules() if isinstance(module, FSDPModule))


def _set_part(parameter: nn.Parameter, full: Tensor, source: int | None = None) -> None:
    """Set this rank's part of `parameter`. source: the rank whose `full` counts; None: each has the same."""
    assert isinstance(parameter, DTensor)
    if full.shape != parameter.shape:
        raise ValueError(f"a tensor has the shape {tuple(full.shape)} instead of {tuple(parameter.shape)}")
    part = distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=source)
    local(parameter.detach()).copy_(local(part))
