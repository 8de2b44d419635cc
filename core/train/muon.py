"""Muon as in torch, with the matrices of one shape turned together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.train.adamw import Uncompiled


class Muon(Uncompiled, torch.optim.Muon):
    """`torch.optim.Muon` (Jordan et al. 2024, kellerjordan.github.io/posts/muon), faster where layers are small.

    Equal to it to the bit on the CPU. torch turns one matrix after the other; here those of one shape go through each
    Newton-Schulz product as one batch. Constants, options and state are torch's.

    dtype: what those products are made in. torch's is bfloat16, which a processor that emulates it takes 90 % of a
    step for (preset shakespeare, two cores of Zen 3); float32 is as good.
    """

    def __init__(self, params: Any, *, dtype: torch.dtype = torch.bfloat16, **options: Any) -> None:
        super().__init__(params, **options)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for shape, parameters in alike.items():
                directions = _orthogonal(self._directions(parameters, group), group)
                ratio = max(1, shape[0] / shape[1]) ** 0.5
                for parameter, direction in zip(parameters, directions.unbind(), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(direction, alpha=-group["lr"] * ratio)
        return loss

    def _directions(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Gradients with momentum (Nesterov's), in `dtype`, for the caller to write over."""
        directions = []
        for parameter in parameters:
            grad, state = parameter.grad, self.state[parameter]
            assert grad is not None
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(grad)
            average = state["momentum_buffer"].lerp_(grad, 1 - group["momentum"])
            directions.append(grad.lerp(average, group["momentum"]).to(self.dtype))
        return directions


def _orthogonal(matrices: list[Tensor], group: dict[str, Any]) -> Tensor:
    """The orthogonal matrices nearest to `matrices`, all of one shape, about: (number, rows, columns)."""
    a, b, c = group["ns_coefficients"]
    tall = matrices[0].shape[0] > matrices[0].shape[1]
    # norms one by one: summed up over a batch they round in another way, and so does all that follows
    x = torch.stack([matrix.div_(matrix.norm().clamp(min=group["eps"])) for matrix in matrices])
    if tall:
        x = x.mT
    for _ in range(group["ns_steps"]):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
