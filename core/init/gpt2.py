"""GPT-2 as `transformers` stores it: its config.json, its recipe, and its tensor names in our model. No torch."""

from __future__ import annotations

import re
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

TRANSPOSED = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight\Z")
"""Weights that GPT-2's Conv1D stores as (in, out) and `nn.Linear` as (out, in)."""
_PREFIX = "transformer."
_BUFFERS = re.compile(r"h\.\d+\.attn\.(masked_)?bias\Z")
"""The causal mask, which older files contain."""

# learning rates for training from scratch destroy good weights; these are nanoGPT's, config/finetune_shakespeare.py
_FINE_TUNING = {"optimizer": "adamw", "lr": 3e-5, "schedule": "constant", "weight_decay": 0.1}


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


def to_model(config: GPT2Config, folder: Path) -> Model:
    """The [model] section of a config.json. Raises InitError where the model computes otherwise than GPT-2."""
    if config.model_type != "gpt2":
        raise InitError(
            f"config.json says model_type {config.model_type!r}; only 'gpt2' is supported",
            where=str(folder),
            todo="name a model of the GPT-2 family, such as hf:gpt2",
        )
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


def from_gpt2_name(published: str) -> str:
    """The name in our model of a tensor of a published GPT-2; empty for buffers."""
    name = published.removeprefix(_PREFIX)
    return "" if _BUFFERS.match(name) else name
