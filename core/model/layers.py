"""The small parts a Transformer is made of."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.model.matmul import product
from core.recipe.schema import Model


class Linear(nn.Linear):
    """A linear layer that computes in the type of its input while its weights stay in float32.

    Rounding a weight at each use costs little beside the product itself, and unlike autocast it keeps what flows
    between the layers in the short type too: a third faster on two cores (shape 6/6/384, batch 16 x 256).
    """

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if weight.dtype != x.dtype:  # a look is a tenth of a call, of which a token takes hundreds
            weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
        return product(x, weight, bias)


def dropped(x: Tensor, where: nn.Module) -> Tensor:
    """x without a share of its numbers, `where.dropout`, while `where` trains; nothing else, as quickly as can be."""
    return F.dropout(x, where.dropout) if where.training and where.dropout else x  # type: ignore[arg-type]


class Norm(nn.Module):
    """Brings every vector to one scale: LayerNorm as in GPT-2, or RMSNorm (Zhang & Sennrich 2019), which does not
    centre and has no bias."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.layer = shape.norm == "layer"
        self.weight = nn.Parameter(torch.ones(shape.n_embd))
        self.bias = nn.Parameter(torch.zeros(shape.n_embd)) if shape.bias and self.layer else None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        if not self.layer:
            return rms(x) * weight
        return F.layer_norm(x, weight.shape, weight, None if self.bias is None else self.bias.to(x.dtype), 1e-5)


def rms(x: Tensor) -> Tensor:
    """x (..., size) divided by the root of the mean of its squares over the last dimension."""
    if not torch.is_grad_enabled():
        return _scaled(x)[0]
    out: Tensor = _Rms.apply(x)  # type: ignore[no-untyped-call]
    return out


def _scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    # the norm is summed up in float32 whatever x is; 1e-6 keeps a vector of zeros a vector of zeros
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    scale = (norm.square() / x.shape[-1] + 1e-6).rsqrt().to(x.dtype)
    return x * scale, scale


class _Rms(torch.autograd.Function):
    """torch's `rms_norm` is, on the CPU, a dozen small steps with a copy in float32; this takes half the time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y, scale = _scaled(x)
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        y, scale = ctx.saved_tensors
        along = (gradient * y).sum(-1, keepdim=True) / y.shape[-1]
        return torch.addcmul(gradient, y, along, value=-1).mul_(scale)


class Rotary(nn.Module):
    """Turns pairs of numbers by an angle that grows with the place (Su et al. 2021, arXiv 2104.09864).

    What queries and keys make of each other then depends on their distance alone.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, size: int, length: int, base: float = 10_000.0) -> None:
        super().__init__()
        # on the CPU even where a model is laid out without memory: these tables are in no file
        places, pairs = (torch.arange(0, end, step, device="cpu").float() for end, step in ((length, 1), (size, 2)))
        angles = torch.outer(places, base ** -(pairs / size))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x: (B, n_head, T, size), turned by the places `start` to `start` + T - 1."""
        cos, sin = (table[start : start + x.shape[2]].to(x.dtype) for table in (self.cos, self.sin))
        if not torch.is_grad_enabled():
            return _turned(x, cos, sin)
        out: Tensor = _Turn.apply(x, cos, sin)  # type: ignore[no-untyped-call]
        return out


class _Turn(torch.autograd.Function):
    """A turn's gradient is the gradient turned back, which saves keeping and adding up its parts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(gradient, cos, -sin), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return torch.cat([torch.addcmul(left * cos, right, sin, value=-1), torch.addcmul(left * sin, right, cos)], dim=-1)


def relu2(x: Tensor) -> Tensor:
    """The square of what is above zero (Primer, arXiv 2109.08668)."""
    if not torch.is_grad_enabled():
        return x.relu().square_()
    out: Tensor = _Relu2.apply(x)  # type: ignore[no-untyped-call]
    return out


class _Relu2(torch.autograd.Function):
    """One step forward and one back less than torch would take, and one tensor less to keep."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        above = x.relu()
        ctx.save_for_backward(above)
        return above * above

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (above,) = ctx.saved_tensors
        out: Tensor = (gradient * above).mul_(2)
        return out
