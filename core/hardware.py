"""What this machine has, and what it is doing at the moment. Imports no torch: screens and `doctor` use it too."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import psutil
from msgspec import Struct

from core.events import Gpu, Reading
from core.workspace import free_bytes


class Machine(Struct, frozen=True, kw_only=True):
    """The parts that matter for training."""

    system: str
    cores: int
    """Those this process may use."""
    memory: int
    """Bytes."""
    gpus: tuple[Gpu, ...]

    def words(self) -> str:
        """ "2 cores, 24 GiB" or "NVIDIA H200, 139 GiB"."""
        if self.gpus:
            count = f"{len(self.gpus)} × " if len(self.gpus) > 1 else ""
            return f"{count}{self.gpus[0].name}, {self.gpus[0].memory_total / 2**30:.0f} GiB"
        return f"{self.cores} core{'s' * (self.cores != 1)}, {self.memory / 2**30:.0f} GiB"


def cores() -> int:
    """Cores this process may use: affinity masks count, containers' quotas do not."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> Machine:
    """Look at the machine once; takes a few milliseconds, more where an NVIDIA driver has to wake."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cores=cores(),
        memory=psutil.virtual_memory().total,
        gpus=tuple(_gpus()),
    )


class Meter:
    """Reads what the machine does. Shares of processor time are since the reading before."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._process = psutil.Process()
        self._process.cpu_percent()
        psutil.cpu_percent()

    def read(self) -> Reading:
        memory = psutil.virtual_memory()
        return Reading(
            cpu=psutil.cpu_percent() / 100,
            cores=cores(),
            ram=memory.total - memory.available,
            ram_total=memory.total,
            process_ram=self._process.memory_info().rss,
            process_cpu=self._process.cpu_percent() / 100,
            disk_free=free_bytes(self._disk),
            gpus=tuple(_gpus()),
        )


@functools.cache
def _nvml() -> bool:
    """Whether an NVIDIA driver answers."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no driver, no library, no permission: pynvml has a class for each and all mean the same here
        return False
    return True


def _gpus() -> Iterator[Gpu]:
    if not _nvml():
        return
    import pynvml

    for index in range(pynvml.nvmlDeviceGetCount()):
        with contextlib.suppress(pynvml.NVMLError):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            watts = celsius = None
            with contextlib.suppress(pynvml.NVMLError):
                watts = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
            with contextlib.suppress(pynvml.NVMLError):
                celsius = float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
            yield Gpu(
                name=str(pynvml.nvmlDeviceGetName(handle)),
                utilisation=pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
                memory=int(memory.used),
                memory_total=int(memory.total),
                watts=watts,
                celsius=celsius,
            )
