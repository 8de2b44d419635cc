"""Memory that runs out: noticed in each of the ways that torch has for saying so, and met with smaller pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from core.trouble import Trouble

T = TypeVar("T")

SIGNS = ("can't allocate memory", "MPS backend out of memory", "_STATUS_ALLOC_FAILED")
"""In the words of a RuntimeError: the CPU's allocator, Apple's and NVIDIA's libraries have no class of their own."""


class OutOfMemory(Trouble):
    doing = "train"


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that memory has run out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


def halving(work: Callable[[int], T], size: int, undo: Callable[[], object] = lambda: None) -> tuple[T, int]:
    """What `work(size)` returns and the size, which is halved as often as memory runs out.

    undo: called before each new try. What runs out at size 1 is raised.
    """
    while True:
        try:
            return work(size), size
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not ran_out(error):
                raise
        # only out here are the error and the tensors in its frames gone
        size = -(-size // 2)
        undo()
        torch.cuda.empty_cache()
