"""The processes that train one model together, each on its share of every batch."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from core.errors import LlmtuiError, ProcessKilledError
from core.train import foreach

PATIENCE = timedelta(days=365)
"""How long one waits for the others: a pause lasts as long as a person wants. One that dies is noticed at once."""


class DistributedDeviceError(LlmtuiError):
    doing = "train"


class Ranks:
    """The processes of one training. Alone, each of these operations leaves things as they are.

    All but the properties have to be called on every rank, in the same order. They raise ProcessKilledError where
    another rank has died.
    """

    def __init__(self, index: int = 0, count: int = 1) -> None:
        self.index, self.count = index, count
        self._parent = os.getppid()

    @classmethod
    @contextlib.contextmanager
    def join(cls, device: str) -> Iterator[Ranks]:
        """Those that torchrun has started with this process, or this one alone. Raises DistributedDeviceError.

        device: as torch spells it. With cuda each rank takes the GPU of its local number.
        """
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            yield cls()
            return
        if device == "cuda":
            here, there = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
            if here > there:  # asked on every rank alike: none must wait for one that has given up
                raise DistributedDeviceError(
                    f"{here} processes want a GPU each, and there {'is' if there == 1 else 'are'} {there}",
                    todo=f'start {there}, or set train.device = "cpu"',
                )
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        # what is agreed on travels by gloo even between GPUs: numbers on the CPU, without waiting for a device
        with _in_touch():
            dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
        try:
            yield cls(dist.get_rank(), dist.get_world_size())
        finally:
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this is the one that evaluates, draws, writes and is told what to do."""
        return self.index == 0

    @property
    def orphaned(self) -> bool:
        """Whether the process that started this one is gone, and with it whoever could start all of them again."""
        return self.count > 1 and os.getppid() != self._parent

    def reseed(self, seed: int) -> None:
        """Give this rank random numbers of its own, so that dropout differs; the first keeps its own."""
        if not self.first:
            digest = hashlib.blake2b(f"{seed}/{self.index}".encode(), digest_size=7).digest()
            torch.manual_seed(int.from_bytes(digest, "little"))

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Make each of `tensors`, all of one type and on one device, the sum over all ranks, in one go."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _in_touch():
            dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        foreach.copy_(tensors, [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Make each of `tensors` what it is on the first rank."""
        if self.count > 1:
            for tensor in tensors:
                with _in_touch():
                    dist.broadcast(tensor.detach(), 0)

    def tell(self, text: str = "") -> str:
        """What the first rank says, on every rank: the others wait for it, however long it takes."""
        if self.count == 1:
            return text
        said = torch.tensor(list(text.encode(errors="surrogateescape")), dtype=torch.uint8)
        length = torch.tensor(len(said))
        self.spread([length])
        heard = said if self.first else torch.empty(int(length), dtype=torch.uint8)
        self.spread([heard])
        return bytes(heard.tolist()).decode(errors="surrogateescape")

    def exchange(self, *numbers: float) -> list[tuple[float, ...]]:
        """What every rank has to say, by rank."""
        if self.count == 1:
            return [numbers]
        every = self._gather(torch.tensor(numbers, dtype=torch.float64))
        return [tuple(said.tolist()) for said in every]

    def gather(self, states: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """The random states of every rank, by rank."""
        if self.count == 1:
            return [dict(states)]
        every = {where: self._gather(state) for where, state in states.items()}
        return [{where: found[rank] for where, found in every.items()} for rank in range(self.count)]

    def _gather(self, tensor: Tensor) -> list[Tensor]:
        """`tensor`, on the CPU and of one shape everywhere, of every rank."""
        every = [torch.empty_like(tensor) for _ in range(self.count)]
        with _in_touch():
            dist.all_gather(every, tensor)
        return every


@contextlib.contextmanager
def _in_touch() -> Iterator[None]:
    """Raises ProcessKilledError where a process that this one has to hear from is gone."""
    try:
        yield
    except RuntimeError as error:  # nothing more exact is raised
        raise ProcessKilledError(f"another of its processes is gone ({error})", todo="resume it") from None
