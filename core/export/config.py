"""config.json and generation_config.json of an exported model, as `transformers` 4 and 5 and mlx-lm read them."""

from __future__ import annotations

from typing import Any, Final

from core.export.architectures import Architecture
from core.model.count import mlp_widths
from core.recipe.schema import Model

LAYER_NORM_EPS: Final = 1e-5
RMS_NORM_EPS: Final = 1e-6
"""Both as in `core.model.layers`."""
ROPE_THETA: Final = 10_000.0
"""The base of `core.model.layers.RotaryEmbedding`."""


def config_json(
    model: Model, vocab_size: int, architecture: Architecture, *, end_of_text: int, dtype: str = "float32"
) -> dict[str, Any]:
    """The contents of config.json. dtype: of the weights, as torch calls it."""
    common = {
        "architectures": [architecture.class_name],
        "model_type": architecture.name,
        "vocab_size": vocab_size,
        "tie_word_embeddings": model.tie_embeddings,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "pad_token_id": None,  # Apertus takes 3 by default
        "dtype": dtype,
    }
    return common | (_gpt2(model) if architecture.name == "gpt2" else _rotary(model, architecture))


def _gpt2(model: Model) -> dict[str, Any]:
    return {
        "n_positions": model.block_size,
        "n_embd": model.n_embd,
        "n_layer": model.n_layer,
        "n_head": model.n_head,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": LAYER_NORM_EPS,
        **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), model.dropout),
        # which biases are exported zeros, so that importing leaves them out again
        "llmtui": {"bias": model.bias, "qkv_bias": model.qkv_bias},
    }


def _rotary(model: Model, architecture: Architecture) -> dict[str, Any]:
    return {
        "hidden_size": model.n_embd,
        "intermediate_size": mlp_widths(model)[1],
        "num_hidden_layers": model.n_layer,
        "num_attention_heads": model.n_head,
        "num_key_value_heads": model.n_kv_head or model.n_head,
        "head_dim": model.n_embd // model.n_head,
        "hidden_act": "relu2" if architecture.name == "apertus" else "silu",
        "max_position_embeddings": model.block_size,
        "rms_norm_eps": RMS_NORM_EPS,
        # `transformers` 5 reads the first; 4 and mlx-lm the others. Apertus would scale as Llama 3 by default
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
        "rope_theta": ROPE_THETA,
        "rope_scaling": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        # fields without a default in mlx-lm's Apertus
        **({"mlp_bias": False, "post_norm": False, "qk_norm": True} if architecture.name == "apertus" else {}),
    }


def generation_config_json(end_of_text: int) -> dict[str, Any]:
    """The contents of generation_config.json: sampling from the whole distribution, to the end of the text."""
    return {"bos_token_id": end_of_text, "eos_token_id": end_of_text, "do_sample": True}
