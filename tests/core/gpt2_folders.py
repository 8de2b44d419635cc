"""Folders with random GPT-2 weights, as `transformers` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 8}


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
