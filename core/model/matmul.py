"""Products of a matrix with a layer's weights, by the library that is fastest for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FEW = 170_000
"""Weights up to which MKL has multiplied them with one vector before oneDNN has, which is twice as fast with many."""


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., in) times weight (out, in) transposed, plus bias (out,), all of one type: (..., out)."""
    # the compiler knows only torch's own
    if ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu" and not torch.compiler.is_compiling():
        if not torch.is_grad_enabled():
            # one vector times a small matrix is over before oneDNN has begun, after 28 µs
            few = weight.numel() < FEW and x.numel() == x.shape[-1]
            return F.linear(x, weight, bias) if few else _linear(x, weight, bias)
        out: Tensor = _Onednn.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return out
    return F.linear(x, weight, bias)


def onednn(processor: str) -> bool:
    """Whether float32 goes through oneDNN instead of MKL, by what /proc/cpuinfo says of the processor.

    Whatever the processor, torch asks MKL. On an AMD with AVX-512 (Zen 4, Zen 5) that takes up to twice as long as
    oneDNN; with AVX2 alone (Zen 3) it is as fast forward and 1.2 to 1.7 times as fast backward. A question of the
    processor alone and not measured, so that a resumed run always gets the same bits.
    """
    facts: dict[str, list[str]] = {}
    for line in processor.splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.split())
    return "AuthenticAMD" in facts.get("vendor_id", []) and "avx512f" in facts.get("flags", [])


def _processor() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


ONEDNN = onednn(_processor()) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


class _Onednn(torch.autograd.Function):
    """The operator torch compiles linear layers to, which has no gradient of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = gradient.flatten(0, -2)
        d_x = _linear(gradient, weight.t(), None) if ctx.needs_input_grad[0] else None
        d_weight = rows.t() @ x.flatten(0, -2)  # its transposed operands suit MKL
        return d_x, d_weight, rows.sum(0) if ctx.needs_input_grad[2] else None
