"""Data-parallel training: the processes that train one model together, each on its share of every batch."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from core.errors import LlmtuiError, ProcessKilledError
from core.train import foreach

TIMEOUT = timedelta(days=365)
"""Of collective operations: a pause may last as long as the user likes. A rank that dies is noticed at once."""


class DistributedDeviceError(LlmtuiError):
    doing = "train"


class ProcessGroup:
    """The processes of one training; a thin layer over `torch.distributed` that does nothing for a single process.

    All methods are collective: every rank has to call them in the same order. They raise ProcessKilledError if
    another rank has died.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank, self.world_size = rank, world_size
        self.local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world_size > 1 else 1
        """Number of ranks on this machine."""
        self._parent = os.getppid()

    @classmethod
    @contextlib.contextmanager
    def join(cls, device: str) -> Iterator[ProcessGroup]:
        """The group of processes started by torchrun, or of this process alone.

        device: "cpu" or "cuda"; with "cuda" each rank uses the GPU of its local rank. Raises DistributedDeviceError
        if there are fewer GPUs than local ranks.
        """
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        if world_size == 1:
            yield cls()
            return
        if device == "cuda":
            processes, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
            if processes > gpus:  # every rank checks this: none must wait for one that has given up
                raise DistributedDeviceError(
                    f"{processes} processes want a GPU each, and there {'is' if gpus == 1 else 'are'} {gpus}",
                    todo=f'start {gpus}, or set train.device = "cpu"',
                )
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        # numbers on the CPU are exchanged by gloo even between GPUs, which does not synchronise the device
        with _peer_errors():
            dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
        try:
            yield cls(dist.get_rank(), dist.get_world_size())
        finally:
            dist.destroy_process_group()

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which evaluates, generates samples, writes checkpoints and receives commands."""
        return self.rank == 0

    @property
    def ranks(self) -> range:
        return range(self.world_size)

    @property
    def orphaned(self) -> bool:
        """Whether torchrun, which started this process and could restart all of them, is gone."""
        return self.world_size > 1 and os.getppid() != self._parent

    def reseed(self, seed: int) -> None:
        """Seed this rank differently from the others, so that dropout masks differ. Rank 0 keeps its seed."""
        if not self.is_main:
            digest = hashlib.blake2b(f"{seed}/{self.rank}".encode(), digest_size=7).digest()
            torch.manual_seed(int.from_bytes(digest, "little"))

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each of `tensors` by its sum over all ranks, in one operation. They share dtype and device."""
        if self.world_size > 1:
            foreach.copy_(tensors, self.start_all_reduce(tensors).wait())

    def start_all_reduce(self, tensors: Sequence[Tensor]) -> PendingReduction:
        """Start to sum `tensors` over all ranks, in one operation. They share dtype and device, and are not changed."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _peer_errors():
            return PendingReduction(dist.all_reduce(flat, async_op=True), flat, [tensor.shape for tensor in tensors])

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Replace each of `tensors` by its value on rank 0."""
        if self.world_size > 1:
            for tensor in tensors:
                with _peer_errors():
                    dist.broadcast(tensor.detach(), 0)

    def broadcast_text(self, text: str = "") -> str:
        """The `text` of rank 0. The other ranks wait for it, however long that takes."""
        if self.world_size == 1:
            return text
        data = torch.tensor(list(text.encode(errors="surrogateescape")), dtype=torch.uint8)
        length = torch.tensor(len(data))
        self.broadcast([length])
        received = data if self.is_main else torch.empty(int(length), dtype=torch.uint8)
        self.broadcast([received])
        return bytes(received.tolist()).decode(errors="surrogateescape")

    def all_gather(self, *numbers: float) -> list[tuple[float, ...]]:
        """The `numbers` of every rank, in the order of the ranks."""
        if self.world_size == 1:
            return [numbers]
        gathered = self._gather(torch.tensor(numbers, dtype=torch.float64))
        return [tuple(values.tolist()) for values in gathered]

    def all_gather_uneven(self, tensor: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """The `tensor` of every rank, in the order of the ranks. sizes: of each rank's, which has one dimension."""
        longest = max(sizes)
        gathered = [tensor.new_empty(longest) for _ in self.ranks]
        with _peer_errors():
            dist.all_gather(gathered, torch.cat([tensor, tensor.new_zeros(longest - len(tensor))]))
        return [piece[:size] for piece, size in zip(gathered, sizes, strict=True)]

    def all_to_all(self, tensor: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """What all ranks have for this one, in the order of the ranks.

        tensor: of one dimension, the first `sent[0]` numbers of it for rank 0, and so on. received: numbers from each.
        """
        result = tensor.new_empty(sum(received))
        with _peer_errors():
            dist.all_to_all_single(result, tensor, list(received), list(sent))
        return result

    def gather_random_states(self, states: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """The random states of every rank, in the order of the ranks."""
        if self.world_size == 1:
            return [dict(states)]
        gathered = {generator: self._gather(state) for generator, state in states.items()}
        return [{name: found[rank] for name, found in gathered.items()} for rank in range(self.world_size)]

    def _gather(self, tensor: Tensor) -> list[Tensor]:
        """`tensor` of every rank. It is on the CPU and has the same shape on all of them."""
        gathered = [torch.empty_like(tensor) for _ in range(self.world_size)]
        with _peer_errors():
            dist.all_gather(gathered, tensor)
        return gathered


def rows_of_rank(rows: int, rank: int, world_size: int) -> int:
    """Rows that `rank` has of a tensor of `rows` which FSDP2 shards: equal parts, the last ones smaller or empty."""
    size = -(-rows // world_size)
    return min(size, max(0, rows - rank * size))


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor, which shares its memory; any other tensor as it is."""
    to_local = getattr(tensor, "to_local", None)  # of DTensor, whose import takes a second
    return tensor if to_local is None else to_local()


class PendingReduction(NamedTuple):
    """A sum over all ranks that is being computed."""

    work: dist.Work
    flat: Tensor
    shapes: list[torch.Size]

    def wait(self) -> list[Tensor]:
        """The sums, in the shapes of the summands. Raises ProcessKilledError."""
        with _peer_errors():
            self.work.wait()
        parts = torch.split(self.flat, [shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]


@contextlib.contextmanager
def _peer_errors() -> Iterator[None]:
    """Raise ProcessKilledError in place of the RuntimeError with which torch.distributed reports a lost peer."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessKilledError(f"another of its processes is gone ({error})", todo="resume it") from None
