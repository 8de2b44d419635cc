"""Configuration and weights of a model, in the order of the forward pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from core.model.count import flops_per_token, parameters, tensor_shapes
from core.model.device import dtype_name
from core.model.gpt import GPT
from core.sample.inspect.figures import finite_or_none
from core.sample.inspect_protocol import ModelPart, ModelSummary, WeightSummary

CHUNK = 2**20
"""Elements of a weight squared at a time."""


def inspect_model(model: GPT) -> Iterator[ModelSummary | ModelPart]:
    """The model as a whole, then part by part, each computed on demand."""
    shape = model.config
    yield ModelSummary(
        model=shape,
        vocabulary=model.vocab_size,
        parameters=parameters(shape, model.vocab_size),
        forward_flops_per_token=flops_per_token(shape, model.vocab_size).forward,
    )
    own, sizes = dict(model.named_parameters()), tensor_shapes(shape, model.vocab_size)
    output = shape.n_layer + 1
    for layer, names in groupby(sizes, lambda name: _layer_of(name, output)):
        weights = [_weight_summary(name, sizes[name], own.get(name)) for name in names]
        if layer == output and shape.tie_embeddings:
            size, dtype = sizes["wte.weight"], dtype_name(model.wte.weight.dtype)
            weights.append(WeightSummary("lm_head.weight", size, 0, dtype, None, None, tied_to="wte.weight"))
        part: Literal["embedding", "block", "output"] = (
            "embedding" if layer == 0 else "block" if layer < output else "output"
        )
        yield ModelPart(name=part, layer=layer, weights=tuple(weights))


def _layer_of(name: str, output: int) -> int:
    """0 for the embedding, n for the n-th block, `output` for what follows the blocks."""
    if name.startswith("h."):
        return int(name.split(".")[1]) + 1
    return 0 if name.startswith(("wte", "wpe")) else output


def _weight_summary(name: str, size: tuple[int, ...], weight: Tensor | None) -> WeightSummary:
    """weight: None if it is packed for int8, so that its values are not accessible."""
    count = math.prod(size)
    if weight is None:
        return WeightSummary(name, size, count, "packed", None, None)
    chunks = torch.split(weight.detach().flatten(), CHUNK)
    squares = math.fsum(float(chunk.double().square().sum()) for chunk in chunks)
    norm, rms = math.sqrt(squares), math.sqrt(squares / count)
    return WeightSummary(name, size, count, dtype_name(weight.dtype), finite_or_none(norm), finite_or_none(rms))
