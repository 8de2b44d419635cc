"""Matrix product speed of this processor in float32 and bfloat16, measured, since they do not follow from its name.

With AVX512-BF16 an EPYC of the Zen 5 family is 2 to 4 times as fast in bfloat16 as in float32, a Xeon whose AMX the
hypervisor hides half as fast, and a Zen 3, which emulates it, 8 to 60 times as slow.
`python -m core.model.matmul_speed` reports to `llmtui doctor`, which imports no torch.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from core.processes.child_job import run_and_report

NumberFormat = Literal["float32", "bfloat16"]

MIN_SPEEDUP = 1.2
"""Speed of bfloat16 relative to float32 that is worth its rounding."""
SMALL, LARGE = 256, 1024
"""Rows and columns of the timed matrices: products of 30 million and 2 billion FLOPs."""


class MatmulSpeed(Struct, frozen=True, kw_only=True):
    """GFLOP/s of square matrix products, the best of several."""

    float32: float
    bfloat16: float

    @property
    def fastest(self) -> NumberFormat:
        """bfloat16 where it is clearly faster."""
        return "bfloat16" if self.bfloat16 > MIN_SPEEDUP * self.float32 else "float32"


class ProcessorReport(Struct, frozen=True, kw_only=True, tag=True):
    """How training would compute on this processor, and why."""

    instructions: str
    """The widest instruction set of torch's kernels: "AVX2", "AVX512"."""
    threads: int
    speed: MatmulSpeed
    library: str
    """Of float32 products."""
    number_format: NumberFormat
    """Of the products of the model and of Muon."""


@functools.cache
def measure_speed() -> MatmulSpeed:
    """Measured once per process, in half a second at most.

    Both formats are timed in turns, so that other programs that use the cores for a moment decide nothing: with five
    products of one after five of the other, one run in ten did without bfloat16. Small matrices come first: where
    bfloat16 is emulated, at 1 GFLOP/s, 15 large products would take half a minute.
    """
    first = _measure(SMALL, 3)
    return _measure(LARGE, 15) if first.bfloat16 > first.float32 / 4 else first


def _measure(size: int, turns: int) -> MatmulSpeed:
    import torch

    pairs = [[torch.ones(size, size, dtype=dtype) for _ in range(2)] for dtype in (torch.float32, torch.bfloat16)]
    best = [math.inf] * len(pairs)
    for left, right in pairs:
        left @ right  # libraries start their threads
    for _ in range(turns):
        for index, (left, right) in enumerate(pairs):
            began = time.perf_counter()
            left @ right
            best[index] = min(best[index], time.perf_counter() - began)
    float32, bfloat16 = (2e-9 * size**3 / seconds for seconds in best)
    return MatmulSpeed(float32=float32, bfloat16=bfloat16)


def report() -> Iterator[ProcessorReport]:
    import torch

    from core.model.matmul import ONEDNN

    measured, mkl = measure_speed(), bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]
    yield ProcessorReport(
        instructions=torch.backends.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(),
        speed=measured,
        library="oneDNN" if ONEDNN else "MKL" if mkl else "torch's own library",
        number_format=measured.fastest,
    )


if __name__ == "__main__":
    sys.exit(run_and_report(report))
