"""Number format of the weights during inference: every token reads all of them, so their size decides its time.

Activations stay in float32; only linear layers change.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import UsageError
from core.model.gpt import GPT
from core.model.layers import Linear
from core.model.matmul import linear
from core.recipe.sampling import Precision
from core.recipe.schema import Model

ALWAYS_FLOAT32_BELOW = 30_000_000
"""Parameters below which float32 is used without measuring: other work takes longer than the matrix products."""

_MAX_FLOAT16 = torch.finfo(torch.float16).max
_FAST_FLOAT16_ROWS = 4
"""Rows up to which torch's float16 products are fast on the CPU: 8 rows take ten times as long as one."""


class PrecisionUnavailableError(UsageError):
    """The format is not supported here, or cannot represent the weights."""

    doing = "convert the weights"


class HalfLinear(nn.Module):
    """A linear layer with weights in 16 bits."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, *, scale_input: bool) -> None:
        """scale_input: divide the input by its largest value first, because it may exceed float16's range."""
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().to(dtype), requires_grad=False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
        self._scale_input = scale_input and dtype == torch.float16

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) in float32 to (..., out) in float32."""
        weight, bias = self.weight, self.bias
        if weight.dtype == torch.float16 and x.shape[:-1].numel() > _FAST_FLOAT16_ROWS:
            return linear(x, weight.float(), None if bias is None else bias.float())
        if not self._scale_input:
            return F.linear(x.to(weight.dtype), weight, bias).float()
        scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-30)
        out = F.linear((x / scale).to(weight.dtype), weight).float() * scale
        return out if bias is None else out + bias


class Int8Linear(nn.Module):
    """A linear layer with torch's dynamic int8 quantisation: one scale per row of weights, one per input tensor.

    All rows of the input share its scale, so the logits of a text depend slightly on the other texts of the batch.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().contiguous()
        bias = None if layer.bias is None else layer.bias.detach().clone()  # out of the memory-mapped file
        scales = (weight.abs().amax(1).double() / 127).clamp(min=1e-30)
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():  # quantized tensors are deprecated; torch below 2.14 has them
            warnings.simplefilter("ignore", UserWarning)
            quantized = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(quantized, bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) in float32 to (..., out) in float32."""
        # reduce_range as torch's own layer: without it, processors without VNNI overflow
        out: Tensor = torch.ops.quantized.linear_dynamic(x.contiguous(), self._packed, reduce_range=True)
        return out


@torch.no_grad()
def convert_weights(model: GPT, precision: Precision, *, parameters: int) -> str:
    """Convert the weights of `model`, on the CPU and not in training, in place; returns a description of the format.

    Raises PrecisionUnavailableError.
    """
    description: str = precision
    automatic = precision == "auto"
    if automatic:
        precision, description = choose_precision(model.config, parameters)
    if precision == "float16" and any(
        float(weight.detach().abs().max()) > _MAX_FLOAT16 for weight in model.parameters()
    ):
        if not automatic:
            raise PrecisionUnavailableError("weights are too large for float16", todo="take bfloat16 or float32")
        precision, description = "float32", "float32, its weights are too large for float16"
    if precision == "int8" and torch.backends.quantized.engine == "none":
        raise PrecisionUnavailableError(
            "torch has no int8 products for this processor", todo="take float32 or bfloat16"
        )
    if precision == "float32":
        return description
    for name, module in list(model.named_modules()):
        if isinstance(module, Linear):
            parent, _, own_name = name.rpartition(".")
            layer = Int8Linear(module) if precision == "int8" else _half_linear(module, precision, name)
            setattr(model.get_submodule(parent), own_name, layer)
    if model.config.tie_embeddings and precision != "int8":
        model.wte.weight = model.lm_head.weight
    elif precision != "int8":
        model.wte.weight = nn.Parameter(model.wte.weight.to(getattr(torch, precision)), requires_grad=False)
    return description


def _half_linear(layer: Linear, precision: Precision, name: str) -> HalfLinear:
    # all other inputs have just been normalised, or are averages of normalised vectors
    return HalfLinear(layer, getattr(torch, precision), scale_input=name.endswith("mlp.c_proj"))


def choose_precision(config: Model, parameters: int) -> tuple[Precision, str]:
    """The fastest format for one text on this machine, and a description. Never int8, which changes the output."""
    if parameters < ALWAYS_FLOAT32_BELOW:
        return "float32", "float32, small enough"
    seconds = _measure_formats(config.n_embd)
    best = min(seconds, key=lambda name: seconds[name])
    speedup = seconds["float32"] / seconds[best]
    if speedup < 1.2:
        return "float32", "float32, as fast here as 16 bits"
    return best, f"{best}, measured {speedup:.1f} times as fast here"


@functools.cache  # the same answer for all models of a process, so that compared models use the same format
def _measure_formats(width: int) -> dict[Precision, float]:
    """Seconds, best of 7, for products of one vector with matrices that together exceed the CPU caches."""
    names: tuple[Precision, ...] = ("float32", "bfloat16", "float16")
    matrices = [torch.ones(4 * width, width) for _ in range(max(1, 2**24 // (4 * width * width)))]
    by_format = {name: [matrix.to(getattr(torch, name)) for matrix in matrices] for name in names}
    best: dict[Precision, float] = dict.fromkeys(names, math.inf)
    vector = torch.ones(1, width)
    with torch.inference_mode():
        for _, name in itertools.product(range(7), names):  # interleaved: a busy moment affects all formats
            start = time.perf_counter()
            for matrix in by_format[name]:
                if name == "float32":
                    linear(vector, matrix)
                else:
                    F.linear(vector.to(matrix.dtype), matrix).float()
            best[name] = min(best[name], time.perf_counter() - start)
    return best
