"""The numbers a model's weights are kept in while it writes: every token reads all of them, so their size is its time.

What flows between the layers stays in float32; only the products with weights change.
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

SMALL = 30_000_000
"""Parameters up to which float32 is taken without measuring: what is beside the products takes longer than they do."""

_LARGEST = torch.finfo(torch.float16).max
_FEW = 4
"""Rows up to which torch's products in float16 are fast on the CPU: 8 rows take ten times as long as one."""


class PrecisionUnavailableError(UsageError):
    doing = "keep the weights in these numbers"


class Short(nn.Module):
    """A linear layer with weights in 16 bits."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, *, scaled: bool) -> None:
        """scaled: its input may be larger than float16 has numbers, and is divided by its largest number first."""
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().to(dtype), requires_grad=False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
        self._scaled = scaled and dtype == torch.float16

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) in float32 to (..., out) in float32."""
        weight, bias = self.weight, self.bias
        if weight.dtype == torch.float16 and x.shape[:-1].numel() > _FEW:
            return linear(x, weight.float(), None if bias is None else bias.float())
        if not self._scaled:
            return F.linear(x.to(weight.dtype), weight, bias).float()
        scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-30)
        out = F.linear((x / scale).to(weight.dtype), weight).float() * scale
        return out if bias is None else out + bias


class Packed(nn.Module):
    """A linear layer with torch's dynamic int8: each row of weights has a scale, the input gets one when it comes.

    One for all its rows, so that what a text is drawn with depends a little on those drawn beside it.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().contiguous()
        bias = None if layer.bias is None else layer.bias.detach().clone()  # out of the file it may lie in
        scales = (weight.abs().amax(1).double() / 127).clamp(min=1e-30)
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():  # these tensors will leave torch one day; below 2.14 they are there
            warnings.simplefilter("ignore", UserWarning)
            packed = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(packed, bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) in float32 to (..., out) in float32."""
        # reduce_range as torch's own layer: without it, processors without VNNI overflow
        out: Tensor = torch.ops.quantized.linear_dynamic(x.contiguous(), self._packed, reduce_range=True)
        return out


@torch.no_grad()
def keep(model: GPT, wanted: Precision, *, parameters: int) -> str:
    """Keep the weights of `model`, which is on the CPU and is not trained, in the numbers `wanted`; say so in words.

    Raises PrecisionUnavailableError where this torch cannot.
    """
    words: str = wanted
    chosen = wanted == "auto"
    if chosen:
        wanted, words = choose(model.config, parameters)
    if wanted == "float16" and any(float(weight.detach().abs().max()) > _LARGEST for weight in model.parameters()):
        if not chosen:
            raise PrecisionUnavailableError("weights are too large for float16", todo="take bfloat16 or float32")
        wanted, words = "float32", "float32, its weights are too large for float16"
    if wanted == "int8" and torch.backends.quantized.engine == "none":
        raise PrecisionUnavailableError(
            "torch has no int8 products for this processor", todo="take float32 or bfloat16"
        )
    if wanted == "float32":
        return words
    for name, module in list(model.named_modules()):
        if isinstance(module, Linear):
            parent, _, own = name.rpartition(".")
            layer = Packed(module) if wanted == "int8" else _short(module, wanted, name)
            setattr(model.get_submodule(parent), own, layer)
    if model.config.tied_head and wanted != "int8":
        model.wte.weight = model.lm_head.weight
    elif wanted != "int8":
        model.wte.weight = nn.Parameter(model.wte.weight.to(getattr(torch, wanted)), requires_grad=False)
    return words


def _short(layer: Linear, wanted: Precision, name: str) -> Short:
    # all other inputs have just been normalised, or are averages of such
    return Short(layer, getattr(torch, wanted), scaled=name.endswith("mlp.c_proj"))


def choose(shape: Model, parameters: int) -> tuple[Precision, str]:
    """What is fastest here for one text, and why, in words. int8 changes what is said and is not chosen."""
    if parameters < SMALL:
        return "float32", "float32, small enough"
    seconds = _seconds(shape.n_embd)
    best = min(seconds, key=lambda name: seconds[name])
    times = seconds["float32"] / seconds[best]
    if times < 1.2:
        return "float32", "float32, as fast here as 16 bits"
    return best, f"{best}, measured {times:.1f} times as fast here"


@functools.cache  # the same answer for every model of one process: two that are compared are kept alike
def _seconds(width: int) -> dict[Precision, float]:
    """The best of some products of one vector with matrices that the caches do not hold all of."""
    names: tuple[Precision, ...] = ("float32", "bfloat16", "float16")
    matrices = [torch.ones(4 * width, width) for _ in range(max(1, 2**24 // (4 * width * width)))]
    kept = {name: [matrix.to(getattr(torch, name)) for matrix in matrices] for name in names}
    best: dict[Precision, float] = dict.fromkeys(names, math.inf)
    vector = torch.ones(1, width)
    with torch.inference_mode():
        for _, name in itertools.product(range(7), names):  # in turns: a busy moment decides nothing
            began = time.perf_counter()
            for matrix in kept[name]:
                if name == "float32":
                    linear(vector, matrix)
                else:
                    F.linear(vector.to(matrix.dtype), matrix).float()
            best[name] = min(best[name], time.perf_counter() - began)
    return best
