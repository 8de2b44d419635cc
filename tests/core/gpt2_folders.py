"""Folders with random GPT-2 weights, as `transformers` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 8}


def peer(**config: Any) -> Any:
    """`transformers`' GPT-2 with random weights, norms and biases included."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    from transformers.initialization import no_init_weights  # its own draws take ten seconds at 124M

    with no_init_weights():
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**config)).eval()
    model.tie_weights()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            middle = 1.0 if "ln_" in name and name.endswith("weight") else 0.0
            spread = 0.1 if parameter.dim() == 1 else 0.04
            parameter.uniform_(middle - spread, middle + spread)
    return model


def written(folder: Path, shard: str = "5GB", **config: Any) -> Any:
    """The same, saved in `folder` in files of at most `shard`."""
    model = peer(**config)
    model.save_pretrained(folder, max_shard_size=shard)
    return model
