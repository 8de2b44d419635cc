"""`torch.optim.AdamW` without the import of torch's compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


def _undecorated(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method that torch has wrapped with `torch._disable_dynamo`; `method` itself if it is not wrapped."""
    wrapped: Callable[..., Any] = getattr(method, "__wrapped__", method)
    return wrapped


class UncompiledOptimizer(Optimizer):
    """An optimizer that is created without importing torch's compiler: 1.8 s before the first step (a core of Zen 3).

    torch imports the compiler to exclude optimizers from compilation. Here they are never compiled:
    `GPT.compile_blocks` compiles the blocks alone.
    """

    add_param_group = _undecorated(Optimizer.add_param_group)


class AdamW(UncompiledOptimizer, torch.optim.AdamW):
    """`torch.optim.AdamW` (Loshchilov & Hutter 2019, arXiv 1711.05101), bit-identical to it."""

    step = torch.no_grad()(_undecorated(torch.optim.AdamW.step))
