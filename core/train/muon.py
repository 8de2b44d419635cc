"""`torch.optim.Muon` with the matrices of one shape orthogonalised as a batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from core.train.adamw import UncompiledOptimizer
from core.train.distributed import ProcessGroup, local
from core.train.muon_exchange import orthogonalise_replicated, orthogonalise_sharded


class Muon(UncompiledOptimizer, torch.optim.Muon):
    """`torch.optim.Muon` (Jordan et al. 2024, kellerjordan.github.io/posts/muon), faster for small layers.

    Bit-identical to it on the CPU. torch orthogonalises one matrix after the other; here those of one shape form a
    batch for the Newton-Schulz iteration. Constants, options and state are torch's.

    group: the processes that train together; each orthogonalises its share of the matrices.
    dtype: of the Newton-Schulz products. torch uses bfloat16, which takes 90 % of a step on a CPU that emulates it
    (preset shakespeare, two cores of Zen 3); float32 gives equally good results.
    """

    def __init__(
        self, params: Any, *, dtype: torch.dtype = torch.bfloat16, group: ProcessGroup | None = None, **options: Any
    ) -> None:
        super().__init__(params, **options)
        self.dtype, self._group = dtype, group or ProcessGroup()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameters in self._batches([one for one in group["params"] if one.grad is not None]):
                directions = self._orthogonal(parameters, self._directions(parameters, group), group)
                for parameter, direction in zip(parameters, directions, strict=True):
                    ratio = max(1, parameter.shape[0] / parameter.shape[1]) ** 0.5
                    part = local(parameter)
                    part.mul_(1 - group["lr"] * group["weight_decay"])
                    part.add_(direction, alpha=-group["lr"] * ratio)
        return loss

    def _batches(self, parameters: list[Tensor]) -> list[list[Tensor]]:
        """What is updated at once: all that the ranks share out among them; in one process those of a shape, for the
        memory of the directions."""
        return [parameters] if self._group.world_size > 1 and parameters else by_shape(parameters)

    def _directions(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Gradients with Nesterov momentum, in `dtype`, of this rank's rows. The caller may overwrite them."""
        directions = []
        for parameter in parameters:
            assert parameter.grad is not None
            grad, state = local(parameter.grad), self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter.grad)
            momentum = local(state["momentum_buffer"]).lerp_(grad, 1 - group["momentum"])
            directions.append(grad.lerp(momentum, group["momentum"]).to(self.dtype))
        return directions

    def _orthogonal(self, parameters: list[Tensor], directions: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        def orthogonalise(matrices: Sequence[Tensor]) -> list[Tensor]:
            found: dict[int, Tensor] = {}
            for batch in by_shape(matrices):
                found |= zip(map(id, batch), orthogonal(batch, group).unbind(), strict=True)
            return [found[id(matrix)] for matrix in matrices]

        if self._group.world_size == 1:
            return orthogonalise(directions)
        if local(parameters[0]) is parameters[0]:
            return orthogonalise_replicated(directions, orthogonalise, self._group)
        shapes = [parameter.shape for parameter in parameters]
        return orthogonalise_sharded(directions, shapes, orthogonalise, self._group)


def by_shape(matrices: Iterable[Tensor]) -> list[list[Tensor]]:
    """`matrices` in lists of one shape each."""
    found: dict[torch.Size, list[Tensor]] = defaultdict(list)
    for matrix in matrices:
        found[matrix.shape].append(matrix)
    return list(found.values())


def orthogonal(matrices: list[Tensor], group: dict[str, Any]) -> Tensor:
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
