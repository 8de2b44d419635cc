"""GPT-2 as `transformers` stores it: its config.json and its recipe. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from core.init.spec import InitError
from core.recipe.schema import Model

GPT2 = "gpt2"
"""The vocabulary of every published GPT-2."""
GPT2_VOCABULARIES = (GPT2, "r50k_base")
"""Vocabularies with the token ids of GPT-2."""
MAX_EXTRA_ROWS = 128
"""Rows an embedding may have beyond GPT-2's 50,257 tokens: a pad token, a few special tokens, a multiple of 128."""

# learning rates for training from scratch destroy good weights; these are nanoGPT's, config/finetune_shakespeare.py
_FINE_TUNING = {"optimizer": "adamw", "lr": 3e-5, "schedule": "constant", "weight_decay": 0.1}


class ExportedBiases(Struct):
    """Which biases are zeros that `core.export.config` has added; `Model` has the fields."""

    bias: bool = True
    qkv_bias: bool | None = None


class GPT2Config(Struct):
    """config.json of `transformers` with its defaults for GPT-2."""

    model_type: str = ""
    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    add_cross_attention: bool = False
    tie_word_embeddings: bool = True
    llmtui: ExportedBiases = msgspec.field(default_factory=ExportedBiases)


def to_model(config: GPT2Config, folder: Path) -> Model:
    """The [model] section of a config.json. Raises InitError where the model computes otherwise than GPT-2."""
    unsupported = [
        (config.activation_function not in ("gelu_new", "gelu_pytorch_tanh"), "activation_function"),
        (config.layer_norm_epsilon != 1e-5, "layer_norm_epsilon"),
        (config.n_inner not in (None, 4 * config.n_embd), "n_inner"),
        (not config.scale_attn_weights, "scale_attn_weights"),
        (config.scale_attn_by_inverse_layer_idx, "scale_attn_by_inverse_layer_idx"),
        (config.add_cross_attention, "add_cross_attention"),
    ]
    for differs, name in unsupported:
        if differs:
            raise InitError(
                f"its architecture differs from GPT-2: {name} is {getattr(config, name)} in its config.json",
                where=str(folder),
                todo="name a model with GPT-2's architecture, such as hf:gpt2",
            )
    shape = {name: getattr(config, name) for name in ("n_layer", "n_head", "n_embd")}
    shape |= {"block_size": config.n_positions, "tie_embeddings": config.tie_word_embeddings}
    shape |= {"bias": config.llmtui.bias, "qkv_bias": config.llmtui.qkv_bias}
    model = Model(**gpt2_tables(shape)["model"])
    try:
        return msgspec.convert(msgspec.to_builtins(model), Model)  # checks the limits of the fields
    except msgspec.ValidationError as error:
        raise InitError(f"config.json describes no model ({error})", where=str(folder)) from None


def gpt2_tables(shape: dict[str, Any]) -> dict[str, Any]:
    """Tables of a recipe that fine-tunes a GPT-2 of the size in `shape`."""
    architecture = {
        "block_size": 1024,
        "positions": "learned",
        "norm": "layer",
        "activation": "gelu",
        "qk_norm": False,
        "zero_init": False,
        "bias": True,
        "tie_embeddings": True,
    }
    return {"model": architecture | shape, "tokenize": {"vocabulary": GPT2}, "train": dict(_FINE_TUNING)}
