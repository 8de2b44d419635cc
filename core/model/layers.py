"""Layers of the Transformer: linear, dropout, norms, rotary position embedding and activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.model.matmul import linear
from core.recipe.schema import Model


class Linear(nn.Linear):
    """`nn.Linear` with float32 parameters that computes in the dtype of its input.

    Rounding a weight at each use costs little beside the product itself, and unlike autocast it keeps the activations
    between the layers in the short dtype, too: a third faster on two cores (6 layers, 6 heads, width 384, batch 16 x
    256).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        # the attribute access of nn.Module is a tenth of a call, of which a generated token takes hundreds
        if weight.dtype != x.dtype:
            weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
        return linear(x, weight, bias)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """`F.dropout`, without the call where it would do nothing, which shows when single tokens are generated."""
    return F.dropout(x, p) if training and p else x


class Norm(nn.Module):
    """LayerNorm, as in GPT-2, or RMSNorm (arXiv 1910.07467), which does not centre and has no bias."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.layer_norm = config.norm == "layer"
        self.weight = nn.Parameter(torch.ones(config.n_embd))
        self.bias = nn.Parameter(torch.zeros(config.n_embd)) if config.bias and self.layer_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        weight = self.weight.to(x.dtype)
        if not self.layer_norm:
            return rms_norm(x) * weight
        return F.layer_norm(x, weight.shape, weight, None if self.bias is None else self.bias.to(x.dtype), 1e-5)


def rms_norm(x: Tensor) -> Tensor:
    """x (..., size) divided by its root mean square over the last dimension."""
    if not torch.is_grad_enabled():
        return _rms_norm(x)[0]
    out: Tensor = _RMSNorm.apply(x)  # type: ignore[no-untyped-call]
    return out


def _rms_norm(x: Tensor) -> tuple[Tensor, Tensor]:
    # accumulated in float32 whatever the dtype of x; 1e-6 keeps a zero vector at zero
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    scale = (norm.square() / x.shape[-1] + 1e-6).rsqrt().to(x.dtype)
    return x * scale, scale


class _RMSNorm(torch.autograd.Function):
    """On the CPU torch's `rms_norm` is a dozen small operations with a copy in float32; this takes half the time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y, scale = _rms_norm(x)
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        y, scale = ctx.saved_tensors
        projection = (grad * y).sum(-1, keepdim=True) / y.shape[-1]
        return torch.addcmul(grad, y, projection, value=-1).mul_(scale)


class RotaryEmbedding(nn.Module):
    """Rotary position embedding (RoPE, arXiv 2104.09864): rotates pairs of dimensions by position-dependent angles.

    The dot product of a query and a key then depends on their distance, not on their positions.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_size: int, block_size: int, base: float = 10_000.0) -> None:
        super().__init__()
        # on the CPU even for a model on the meta device: these tables are in no file
        positions = torch.arange(0, block_size, device="cpu").float()
        dimensions = torch.arange(0, head_size, 2, device="cpu").float()
        angles = torch.outer(positions, base ** -(dimensions / head_size))  # (block_size, head_size / 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x (B, heads, T, head_size), rotated by the angles of positions `start` to `start` + T - 1."""
        cos, sin = (table[start : start + x.shape[2]].to(x.dtype) for table in (self.cos, self.sin))
        if not torch.is_grad_enabled():
            return _rotate(x, cos, sin)
        out: Tensor = _Rotate.apply(x, cos, sin)  # type: ignore[no-untyped-call]
        return out


class _Rotate(torch.autograd.Function):
    """The gradient of a rotation is the inverse rotation, so that no intermediate result has to be saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotate(grad, cos, -sin), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return torch.cat([torch.addcmul(left * cos, right, sin, value=-1), torch.addcmul(left * sin, right, cos)], dim=-1)


def gelu(x: Tensor) -> Tensor:
    """GELU in its tanh approximation, with which GPT-2 was trained (arXiv 1606.08415)."""
    return F.gelu(x, approximate="tanh")


def swiglu(x: Tensor) -> Tensor:
    """SwiGLU (arXiv 2002.05202): (..., 2 · size) to (..., size), SiLU of the first half times the second."""
    gate, x = x.chunk(2, dim=-1)
    return F.silu(gate) * x


def relu_squared(x: Tensor) -> Tensor:
    """ReLU(x)² (Primer, arXiv 2109.08668)."""
    if not torch.is_grad_enabled():
        return x.relu().square_()
    out: Tensor = _ReluSquared.apply(x)  # type: ignore[no-untyped-call]
    return out


class _ReluSquared(torch.autograd.Function):
    """One operation less forward and backward than torch would take, and one tensor less saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = x.relu()
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        out: Tensor = (grad * positive).mul_(2)
        return out


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": gelu, "swiglu": swiglu, "relu2": relu_squared}
"""Activations of the MLP by `model.activation`: the output of c_fc (..., expanded) to the input of c_proj. The widths
of both are `core.model.count.mlp_widths`."""
