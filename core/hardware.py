"""The hardware of this machine and its current utilisation. Imports no torch: screens and `doctor` use it too."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from msgspec import Struct

from core.events import Gpu, HardwareReading
from core.plural import plural
from core.storage.workspace import free_bytes


class Machine(Struct, frozen=True, kw_only=True):
    """The parts that matter for training."""

    system: str
    cores: int
    """Those this process may use."""
    memory: int
    """Bytes."""
    gpus: tuple[Gpu, ...]

    @property
    def processors(self) -> str:
        """What trains: "2 cores", "NVIDIA H200" or "8 × NVIDIA H200"."""
        if self.gpus:
            count = f"{len(self.gpus)} × " if len(self.gpus) > 1 else ""
            return f"{count}{self.gpus[0].name}"
        return plural(self.cores, "core")

    @property
    def training_memory(self) -> int:
        """Bytes of the first GPU, or of the machine."""
        return self.gpus[0].memory_total if self.gpus else self.memory

    def words(self) -> str:
        """ "2 cores, 24 GiB" or "NVIDIA H200, 139 GiB"."""
        return f"{self.processors}, {self.training_memory / 2**30:.0f} GiB"


def cores() -> int:
    """Cores this process may use: affinity masks count, containers' quotas do not."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> Machine:
    """Detect the hardware; takes a few milliseconds, more if an NVIDIA driver has to start."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cores=cores(),
        memory=psutil.virtual_memory().total,
        gpus=tuple(_gpus()),
    )


def available_memory() -> int:
    """Bytes of main memory available to this process, within its control groups and `ulimit -v`."""
    left = [int(psutil.virtual_memory().available)]
    left += [limit - used for limit, used in _control_groups()]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        left.append(soft - int(psutil.Process().memory_info().vms))
    return max(0, min(left))


def memory_for(device: str) -> tuple[int, bool]:
    """Free bytes for a training with train.device `device`, and whether they are those of a GPU."""
    gpus = machine().gpus if device in ("auto", "cuda") else ()
    return (gpus[0].memory_total - gpus[0].memory, True) if gpus else (available_memory(), False)


def _control_groups() -> Iterator[tuple[int, int]]:
    """Limit and usage in bytes of each control group (v1 or v2) of this process that has a limit."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, names, group_path = line.split(":", 2)
            if names not in ("", "memory"):
                continue
            root, limit, used = (
                (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")
                if names
                else (Path("/sys/fs/cgroup"), "memory.max", "memory.current")
            )
            own_group = root / group_path.lstrip("/")
            for group in (own_group, *own_group.parents):
                with contextlib.suppress(OSError, ValueError):  # "max", or a group seen from inside a container
                    yield int((group / limit).read_text()), int((group / used).read_text()) - _cached(group)
                if group == root:
                    break


def _cached(group: Path) -> int:
    """Bytes of a control group that the kernel can reclaim."""
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def reset_peak_memory() -> None:
    """Reset what `peak_memory` returns, where the system supports it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """The most resident memory this process has had, in bytes; since `reset_peak_memory` on Linux."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class HardwareMonitor:
    """Reads the utilisation of the machine. CPU shares are since the previous reading."""

    peak: Callable[[], int] | None = None
    """Returns the peak memory of the training, in bytes; set when it starts."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._process = psutil.Process()
        self._process.cpu_percent()
        psutil.cpu_percent()

    def read(self) -> HardwareReading:
        memory = psutil.virtual_memory()
        return HardwareReading(
            cpu=psutil.cpu_percent() / 100,
            cores=cores(),
            ram=memory.total - memory.available,
            ram_total=memory.total,
            process_ram=self._process.memory_info().rss,
            process_cpu=self._process.cpu_percent() / 100,
            disk_free=free_bytes(self._disk),
            gpus=tuple(_gpus()),
            peak=self.peak() if self.peak else 0,
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


def gpu_count() -> int:
    """Number of NVIDIA GPUs in this machine."""
    if not _nvml():
        return 0
    import pynvml

    return int(pynvml.nvmlDeviceGetCount())


def _gpus() -> Iterator[Gpu]:
    if not _nvml():
        return
    import pynvml

    for index in range(gpu_count()):
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
