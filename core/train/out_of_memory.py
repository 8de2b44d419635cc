"""Running out of memory during training: retry with smaller micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from core.errors import LlmtuiError, is_out_of_memory
from core.plural import plural

T = TypeVar("T")


class TrainingMemoryError(LlmtuiError):
    doing = "train"

    @classmethod
    def single_sequence(cls, block_size: int, kept: str) -> TrainingMemoryError:
        """The error if memory runs out even at a micro-batch of one sequence of `block_size` tokens."""
        return cls(
            f"the memory is too small for this model, even for one sequence of {plural(block_size, 'token')} at a time",
            kept=kept,
            todo="use a smaller model or a shorter model.block_size",
        )


def halve_on_out_of_memory(
    function: Callable[[int], T], size: int, reset: Callable[[], object] = lambda: None
) -> tuple[T, int]:
    """The result of `function(size)` and the size used, which is halved each time memory runs out.

    reset: called before each retry. Raises the out-of-memory error of size 1.
    """
    while True:
        try:
            return function(size), size
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        # outside the handler: there the error would keep the tensors of its frames alive
        size = -(-size // 2)
        reset()
        torch.cuda.empty_cache()
