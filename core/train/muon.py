"""`torch.optim.Muon` with the matrices of one shape orthogonalised as a batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.train.adamw import UncompiledOptimizer


class Muon(UncompiledOptimizer, torch.optim.Muon):
    """`torch.optim.Muon` (Jordan et al. 2024, kellerjordan.github.io/posts/muon), faster for small layers.

    Bit-identical to it on the CPU. torch orthogonalises one matrix after the other; here those of one shape form a
    batch for the Newton-Schulz iteration. Constants, options and state are torch's.

    dtype: of the Newton-Schulz products. torch uses bfloat16, which takes 90 % of a step on a CPU that emulates it
    (preset shakespeare, two cores of Zen 3); float32 gives equally good results.
    """

    def __init__(self, params: Any, *, dtype: torch.dtype = torch.bfloat16, **options: Any) -> None:
        super().__init__(params, **options)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                directions = _orthogonal(self._directions(parameters, group), group)
                ratio = max(1, shape[0] / shape[1]) ** 0.5
                for parameter, direction in zip(parameters, directions.unbind(), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(direction, alpha=-group["lr"] * ratio)
        return loss

    def _directions(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Gradients with Nesterov momentum, in `dtype`. The caller may overwrite them."""
        directions = []
        for parameter in parameters:
            grad, state = parameter.grad, self.state[parameter]
            assert grad is not None
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(grad)
            momentum = state["momentum_buffer"].lerp_(grad, 1 - group["momentum"])
            directions.append(grad.lerp(momentum, group["momentum"]).to(self.dtype))
        return directions


def _orthogonal(matrices: list[Tensor], group: dict[str, Any]) -> Tensor:
    """Approximately the nearest orthogonal matrices to `matrices`, all of one shape: (count, rows, columns).

    Newton-Schulz iteration with the quintic polynomial of Jordan et al. 2024.
    """
    a, b, c = group["ns_coefficients"]
    tall = matrices[0].shape[0] > matrices[0].shape[1]
    # one norm at a time: a batched norm rounds differently, and the result would not be bit-identical
    x = torch.stack([matrix.div_(matrix.norm().clamp(min=group["eps"])) for matrix in matrices])
    if tall:
        x = x.mT
    for _ in range(group["ns_steps"]):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
