"""A model's own picture: its weights in the order of the forward pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from core.model.count import parameters, tensors, work
from core.model.gpt import GPT
from core.sample.inspect.figures import number
from core.sample.inspect_protocol import Part, Shape, Weight

CHUNK = 2**20
"""Numbers of a weight that are squared at once."""


def describe(model: GPT) -> Iterator[Shape | Part]:
    """The model as a whole, then part by part, each looked at when it is asked for."""
    shape = model.config
    yield Shape(
        model=shape,
        vocabulary=model.vocab_size,
        parameters=parameters(shape, model.vocab_size),
        forward_flops_per_token=work(shape, model.vocab_size).forward,
    )
    found, sizes = dict(model.named_parameters()), tensors(shape, model.vocab_size)
    output = shape.n_layer + 1
    for layer, names in groupby(sizes, lambda name: _layer(name, output)):
        weights = [_weight(name, sizes[name], found.get(name)) for name in names]
        if layer == output and shape.tied_head:
            size, dtype = sizes["wte.weight"], _dtype(model.wte.weight)
            weights.append(Weight("lm_head.weight", size, 0, dtype, None, None, shares="wte.weight"))
        part: Literal["embedding", "block", "output"] = (
            "embedding" if layer == 0 else "block" if layer < output else "output"
        )
        yield Part(name=part, layer=layer, weights=tuple(weights))


def _layer(name: str, output: int) -> int:
    """Where a weight belongs: 0 the embedding, n the n-th block, `output` what comes behind them."""
    if name.startswith("h."):
        return int(name.split(".")[1]) + 1
    return 0 if name.startswith(("wte", "wpe")) else output


def _weight(name: str, size: tuple[int, ...], weight: Tensor | None) -> Weight:
    """weight: None where it is packed, so that its numbers are not at hand."""
    count = math.prod(size)
    if weight is None:
        return Weight(name, size, count, "packed", None, None)
    chunks = torch.split(weight.detach().flatten(), CHUNK)
    squares = math.fsum(float(chunk.double().square().sum()) for chunk in chunks)
    return Weight(name, size, count, _dtype(weight), number(math.sqrt(squares)), number(math.sqrt(squares / count)))


def _dtype(weight: Tensor) -> str:
    return str(weight.dtype).removeprefix("torch.")
