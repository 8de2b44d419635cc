"""Device and precision of a training, chosen for the machine."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import torch
from msgspec import Struct

from core.errors import LlmtuiError
from core.hardware import cores
from core.model.matmul_speed import measure_speed
from core.plural import plural
from core.recipe.schema import Train


class DeviceError(LlmtuiError):
    doing = "train"


class Device(Struct, frozen=True, kw_only=True):
    name: str
    """cpu, cuda or mps."""
    dtype: torch.dtype
    """Of the matrix products of the model."""
    muon: torch.dtype = torch.float32
    """Of the matrix products of Muon."""
    description: str
    """For people, such as "2 cores, float32"."""

    @property
    def torch(self) -> torch.device:
        return torch.device(self.name)


def choose_device(recipe: Train) -> Device:
    """Device and precision of the recipe, or the best available. Raises DeviceError."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = recipe.device
    if name == "auto":
        name = "cuda" if available["cuda"] else "mps" if available["mps"] else "cpu"
    if not available[name]:
        raise DeviceError(f"there is no {name} device", where="train.device", todo='set train.device = "auto"')
    # float32 in the recipe means no rounding anywhere, and nothing to measure
    fast = torch.bfloat16 if recipe.precision != "float32" and _fast_bfloat16(name) else torch.float32
    dtype = getattr(torch, recipe.precision) if recipe.precision != "auto" else fast
    count = cores()
    where = torch.cuda.get_device_name() if name == "cuda" else name if name == "mps" else plural(count, "core")
    # Muon is not in bfloat16 where that is emulated, whatever the recipe says
    return Device(name=name, dtype=dtype, muon=fast, description=f"{where}, {dtype_name(dtype)}")


def dtype_name(dtype: torch.dtype) -> str:
    """The name of `dtype` in torch, such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def _fast_bfloat16(name: str) -> bool:
    """Whether matrix products in bfloat16 are clearly faster than in float32 here."""
    if name == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # on mps bfloat16 saves memory but costs time
    return name == "cpu" and measure_speed().fastest == "bfloat16"


def keep_freed_memory() -> None:
    """Keep freed memory in the process instead of returning it to the system (glibc only).

    A training step allocates and frees the same large blocks again and again; page faults took 15 to 33 % of the
    processor time (6 layers, 6 heads, width 384). Call before the first large allocation.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    raise_malloc_thresholds(mallopt)


def raise_malloc_thresholds(mallopt: Callable[[int, int], int]) -> None:
    """Raise the malloc thresholds as far as this glibc accepts; `mallopt` returns 0 where it does not."""
    m_mmap_threshold, m_trim_threshold = -3, -1
    # glibc before 2.35 refuses values above 32 MiB and keeps its threshold of 128 KiB
    if not mallopt(m_mmap_threshold, 1 << 30):
        mallopt(m_mmap_threshold, 1 << 25)
    mallopt(m_trim_threshold, (1 << 31) - 1)
