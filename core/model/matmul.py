"""Matrix products of activations and weights, by the library that is fastest for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SMALL_WEIGHT = 170_000
"""Elements of a weight up to which MKL multiplies a single vector faster than oneDNN, which starts slowly but is twice
as fast with large weights."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`: x (..., in) · weight (out, in)ᵀ + bias (out,), all of one dtype: (..., out)."""
    # torch.compile knows only torch's own operators
    if ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu" and not torch.compiler.is_compiling():
        if not torch.is_grad_enabled():
            # a call of oneDNN takes 28 µs before it computes
            small = weight.numel() < SMALL_WEIGHT and x.numel() == x.shape[-1]
            return F.linear(x, weight, bias) if small else _onednn_linear(x, weight, bias)
        out: Tensor = _OneDNNLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return out
    return F.linear(x, weight, bias)


def prefers_onednn(cpuinfo: str) -> bool:
    """Whether float32 products use oneDNN instead of MKL, by the contents of /proc/cpuinfo.

    torch always uses MKL. On an AMD processor with AVX-512 (Zen 4, Zen 5) MKL takes up to twice as long as oneDNN; with
    AVX2 alone (Zen 3) it is as fast forward and 1.2 to 1.7 times as fast backward. Decided by the processor's name and
    not measured, so that a resumed run always computes the same bits.
    """
    fields: dict[str, list[str]] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.split())
    return "AuthenticAMD" in fields.get("vendor_id", []) and "avx512f" in fields.get("flags", [])


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


ONEDNN = prefers_onednn(_cpuinfo()) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


class _OneDNNLinear(torch.autograd.Function):
    """The operator to which torch.compile lowers linear layers; it has no backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn_linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        d_x = _onednn_linear(grad, weight.t(), None) if ctx.needs_input_grad[0] else None
        d_weight = rows.t() @ x.flatten(0, -2)  # its transposed operands suit MKL
        return d_x, d_weight, rows.sum(0) if ctx.needs_input_grad[2] else None
