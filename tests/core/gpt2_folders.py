"""Folders with random GPT-2 weights, as `transformers` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.export.architectures import ARCHITECTURES
from core.init.config import ModelConfig
from core.init.tensors import copy_into, from_transformers
from core.model.gpt import GPT

ARCHITECTURE = next(each for each in ARCHITECTURES if each.name == "gpt2")
SMALL: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 8}


def transformers_gpt2(**config: Any) -> Any:
    """`transformers`' GPT-2 with random weights, norms and biases included."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    from transformers.initialization import no_init_weights  # its initialisation takes ten seconds at 124M

    with no_init_weights():
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**config)).eval()
    model.tie_weights()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if "ln_" in name and name.endswith("weight") else 0.0
            width = 0.1 if parameter.dim() == 1 else 0.04
            parameter.uniform_(mean - width, mean + width)
    return model


def save_gpt2(folder: Path, shard: str = "5GB", **config: Any) -> Any:
    """Such a model, saved in `folder` in files of at most `shard`, and returned."""
    model = transformers_gpt2(**config)
    model.save_pretrained(folder, max_shard_size=shard)
    return model


def copy_gpt2(model: GPT, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors of a GPT-2, under the names of `transformers`, into `model`."""
    config = ModelConfig(model=model.config, vocab_size=model.vocab_size, architecture=ARCHITECTURE)
    converted = from_transformers(config, tensors, tensors.__getitem__, "transformers")
    copy_into(model, converted, tokens=model.vocab_size, where="transformers")
