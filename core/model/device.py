"""Where the arithmetic happens and in which numbers, chosen for the machine and said in words."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import torch
from msgspec import Struct

from core.errors import LlmtuiError
from core.hardware import cores
from core.model.matmul_speed import rates
from core.plural import plural
from core.recipe.schema import Train


class DeviceError(LlmtuiError):
    doing = "train"


class Device(Struct, frozen=True, kw_only=True):
    name: str
    """As torch spells it: cpu, cuda, mps."""
    dtype: torch.dtype
    """Of the model's products."""
    muon: torch.dtype = torch.float32
    """Of Muon's."""
    words: str

    @property
    def torch(self) -> torch.device:
        return torch.device(self.name)


def choose(recipe: Train) -> Device:
    """The device and precision a recipe asks for, or the best there is. Raises DeviceError."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = recipe.device
    if name == "auto":
        name = "cuda" if available["cuda"] else "mps" if available["mps"] else "cpu"
    if not available[name]:
        raise DeviceError(f"there is no {name} device", where="train.device", todo='set train.device = "auto"')
    fast = torch.bfloat16 if _fast_bfloat16(name) else torch.float32
    dtype = fast if recipe.precision == "auto" else getattr(torch, recipe.precision)
    count = cores()
    where = torch.cuda.get_device_name() if name == "cuda" else name if name == "mps" else plural(count, "core")
    # who asks for float32 wants no rounding anywhere; who asks for bfloat16 need not wait for it in Muon
    muon = torch.float32 if recipe.precision == "float32" else fast
    return Device(name=name, dtype=dtype, muon=muon, words=f"{where}, {str(dtype).removeprefix('torch.')}")


def _fast_bfloat16(name: str) -> bool:
    """Whether matrix products in bfloat16 are clearly faster than in float32 here."""
    if name == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # on mps bfloat16 saves memory but costs time
    return name == "cpu" and rates().numbers == "bfloat16"


def keep_memory() -> None:
    """Tell glibc not to give freed blocks back to the system.

    A training step frees and asks for the same large blocks again and again; touching fresh pages took 15 to 33 %
    of all processor time (shape 6/6/384). Call before the first large allocation. No effect outside glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    keep(mallopt)


def keep(mallopt: Callable[[int, int], int]) -> None:
    """Set the thresholds as high as this glibc takes them; `mallopt` returns 0 where it does not."""
    m_mmap_threshold, m_trim_threshold = -3, -1
    # before 2.35 nothing above 32 MiB is taken, and a threshold that is refused stays at 128 KiB
    if not mallopt(m_mmap_threshold, 1 << 30):
        mallopt(m_mmap_threshold, 1 << 25)
    mallopt(m_trim_threshold, (1 << 31) - 1)
