"""How fast this processor multiplies matrices, in which numbers, and what follows: measured, since names do not tell.

With AVX512-BF16 an EPYC of the Zen 5 family is 2 to 4 times faster in bfloat16 than in float32, a Xeon whose AMX the
hypervisor hides half as fast, and a Zen 3, which only emulates it, 8 to 60 times as slow. As a process of its own,
`python -m core.model.matmul_speed`, it tells `llmtui doctor`, which imports no torch.
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

Numbers = Literal["float32", "bfloat16"]

CLEARLY = 1.2
"""Times as fast as float32 bfloat16 has to be, to be worth its rounding."""
SMALL, LARGE = 256, 1024
"""Rows and columns of the products timed: 30 million and 2 billion operations."""


class Rates(Struct, frozen=True, kw_only=True):
    """GFLOP/s of products of two square matrices, the best of several."""

    float32: float
    bfloat16: float

    @property
    def numbers(self) -> Numbers:
        """The fastest numbers to multiply in here."""
        return "bfloat16" if self.bfloat16 > CLEARLY * self.float32 else "float32"


class Arithmetic(Struct, frozen=True, kw_only=True, tag=True):
    """What training on this processor, not on a GPU, would choose, and why."""

    instructions: str
    """The widest that torch's own kernels use, in its words: "AVX2", "AVX512"."""
    threads: int
    rates: Rates
    library: str
    """That multiplies in float32."""
    numbers: Numbers
    """Of the model's products and of Muon's."""


@functools.cache
def rates() -> Rates:
    """Measure this processor, once a process: half a second at most.

    The two kinds take turns, so that a moment in which others use the cores decides nothing: with five products of one
    after five of the other, one run in ten did without bfloat16. Small ones come first: where bfloat16 is emulated, at
    1 GFLOP/s, 15 large ones would take half a minute.
    """
    first = _rates(SMALL, 3)
    return _rates(LARGE, 15) if first.bfloat16 > first.float32 / 4 else first


def _rates(size: int, turns: int) -> Rates:
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
    return Rates(float32=float32, bfloat16=bfloat16)


def look() -> Iterator[Arithmetic]:
    import torch

    from core.model.matmul import ONEDNN

    measured, mkl = rates(), bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]
    yield Arithmetic(
        instructions=torch.backends.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(),
        rates=measured,
        library="oneDNN" if ONEDNN else "MKL" if mkl else "torch's own library",
        numbers=measured.numbers,
    )


if __name__ == "__main__":
    sys.exit(run_and_report(look))
