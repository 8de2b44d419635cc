"""AdamW as in torch, but ready at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


def _undecorated(method: Callable[..., Any]) -> Callable[..., Any]:
    """What torch has wrapped into something for its compiler; `method` itself where another version wraps nothing."""
    wrapped: Callable[..., Any] = getattr(method, "__wrapped__", method)
    return wrapped


class Uncompiled(Optimizer):
    """An optimiser that is made without importing torch's compiler: 1.8 s before the first step (a core of Zen 3).

    torch imports it to tell it not to look into optimisers. Ours are compiled by nobody: `GPT.compile_blocks` takes
    the blocks alone.
    """

    add_param_group = _undecorated(Optimizer.add_param_group)


class AdamW(Uncompiled, torch.optim.AdamW):
    """`torch.optim.AdamW`, equal to it to the bit."""

    step = torch.no_grad()(_undecorated(torch.optim.AdamW.step))
