"""Where the arithmetic happens and in which numbers, chosen for the machine and said in words."""

from __future__ import annotations

import ctypes
import math
import sys
import time

import torch
from msgspec import Struct

from core.hardware import cores
from core.recipe import Train
from core.trouble import Trouble


class NoDevice(Trouble):
    doing = "train"


class Device(Struct, frozen=True, kw_only=True):
    name: str
    """As torch spells it: cpu, cuda, mps."""
    dtype: torch.dtype
    words: str

    @property
    def torch(self) -> torch.device:
        return torch.device(self.name)


def choose(recipe: Train) -> Device:
    """The device and precision a recipe asks for, or the best there is. Raises NoDevice."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = recipe.device
    if name == "auto":
        name = "cuda" if available["cuda"] else "mps" if available["mps"] else "cpu"
    if not available[name]:
        raise NoDevice(f"there is no {name} device", where="train.device", todo='set train.device = "auto"')
    short = recipe.precision == "bfloat16" or (recipe.precision == "auto" and _fast_bfloat16(name))
    dtype = torch.bfloat16 if short else torch.float32
    count = cores()
    where = torch.cuda.get_device_name() if name == "cuda" else name if name == "mps" else f"{count} cores"
    return Device(name=name, dtype=dtype, words=f"{where}, {'bfloat16' if short else 'float32'}")


def _fast_bfloat16(name: str) -> bool:
    """Whether matrix products in bfloat16 are clearly faster than in float32 here."""
    if name == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # a private name, so its absence means no rather than an error; on mps bfloat16 saves memory but costs time
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if name != "cpu" or supported is None or not supported():
        return False
    short, exact = _seconds(torch.bfloat16, torch.float32)
    return short < exact / 1.2


def _seconds(*dtypes: torch.dtype) -> list[float]:
    """Of each type the best of 15 products of 1024 x 1024 matrices.

    Having the instructions is not enough: with AVX512-BF16 an EPYC of the Zen 5 family is 2 to 4 times faster than in
    float32, a Xeon whose AMX the hypervisor hides is half as fast. The types take turns, so that a moment in which
    others use the cores decides nothing: with five products of one after five of the other, one run in ten did
    without bfloat16.
    """
    pairs = [[torch.ones(1024, 1024, dtype=dtype) for _ in range(2)] for dtype in dtypes]
    best = [math.inf] * len(dtypes)
    for _ in range(15):
        for index, (left, right) in enumerate(pairs):
            began = time.perf_counter()
            left @ right
            best[index] = min(best[index], time.perf_counter() - began)
    return best


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
    m_mmap_threshold, m_trim_threshold = -3, -1
    mallopt(m_mmap_threshold, 1 << 30)
    mallopt(m_trim_threshold, (1 << 31) - 1)
