"""GPT-2 with random weights, sampled in the order of "Build a Large Language Model (From Scratch)", chapter 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.recipe.schema import Model

Tensors = dict[str, Tensor]


def random_gpt2(shape: Model, vocabulary: int, seed: int = 123) -> Tensors:
    """GPT-2's tensors by their published names and in their published layout, of the book's untrained model."""
    torch.manual_seed(seed)
    width = shape.n_embd
    tensors: Tensors = {}
    tensors["wte.weight"] = nn.Embedding(vocabulary, width).weight
    tensors["wpe.weight"] = nn.Embedding(shape.block_size, width).weight
    for layer in range(shape.n_layer):
        name = f"h.{layer}."
        queries, keys, values = (nn.Linear(width, width, bias=False) for _ in range(3))
        out = nn.Linear(width, width)
        wide, narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        tensors[name + "attn.c_attn.weight"] = torch.cat([queries.weight, keys.weight, values.weight]).T
        for part, linear in {"attn.c_proj": out, "mlp.c_fc": wide, "mlp.c_proj": narrow}.items():
            tensors[f"{name}{part}.weight"], tensors[f"{name}{part}.bias"] = linear.weight.T, linear.bias
        for norm in ("ln_1", "ln_2"):
            tensors |= _norm(name + norm, width)
    tensors |= _norm("ln_f", width)
    tensors["lm_head.weight"] = nn.Linear(width, vocabulary, bias=False).weight
    return {f"transformer.{name}": tensor.detach() for name, tensor in tensors.items()}


def _norm(name: str, width: int) -> Tensors:
    return {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}
