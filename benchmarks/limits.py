"""What this machine can do at best: `python -m benchmarks.limits`, in a process of its own beside each benchmark."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import torch

SIZE = 1024
"""Of the square matrices: large enough for a processor's best, small enough for a second."""
SECONDS = 1.0


def rate(work: Callable[[], object], amount: float) -> float:
    """`amount` of work in each call of `work`; the highest rate a second in any of its calls within a second."""
    work()
    best, end = 0.0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = max(best, amount / (time.perf_counter() - began))
    return best


def matmul(dtype: torch.dtype) -> float:
    """FLOP/s of a product of two square matrices."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (torch.randn(SIZE, SIZE, device=device).to(dtype) for _ in range(2))
    return rate(lambda: a @ b, 2 * SIZE**3)


def copy() -> float:
    """Bytes a second read and written by a copy in main memory, far larger than any cache."""
    source = torch.ones(2**26, dtype=torch.uint8)
    target = torch.empty_like(source)
    return rate(lambda: target.copy_(source), 2 * source.numel())


def main() -> None:
    print(
        json.dumps(
            {
                "cores": torch.get_num_threads(),
                "float32 matmul GFLOP/s": matmul(torch.float32) / 1e9,
                "bfloat16 matmul GFLOP/s": matmul(torch.bfloat16) / 1e9,
                "memory copy GB/s": copy() / 1e9,
            }
        )
    )


if __name__ == "__main__":
    main()
