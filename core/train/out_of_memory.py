"""Memory that runs out in the training: met with smaller pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from core.errors import LlmtuiError, is_out_of_memory

T = TypeVar("T")


class TrainingMemoryError(LlmtuiError):
    doing = "train"


def halving(work: Callable[[int], T], size: int, undo: Callable[[], object] = lambda: None) -> tuple[T, int]:
    """What `work(size)` returns and the size, which is halved as often as memory runs out.

    undo: called before each new try. What runs out at size 1 is raised.
    """
    while True:
        try:
            return work(size), size
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        # only out here are the error and the tensors in its frames gone
        size = -(-size // 2)
        undo()
        torch.cuda.empty_cache()
