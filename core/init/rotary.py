"""Apertus and Qwen3 as `transformers` stores them: their config.json as a [model] section. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from core.export.config import RMS_NORM_EPS, ROPE_THETA
from core.init.spec import InitError
from core.model.count import mlp_widths
from core.recipe.schema import Model

ACTIVATIONS = {"apertus": ("relu2", "relu2"), "qwen3": ("silu", "swiglu")}
"""`hidden_act` of each model type that our model has, and `model.activation`."""
ROTARY_TYPES = tuple(ACTIVATIONS)


class RotaryConfig(Struct, kw_only=True):
    """The fields of config.json that decide what an Apertus or a Qwen3 computes, with the defaults of transformers."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str | None = None
    """Left out: Apertus has xielu, Qwen3 silu."""
    max_position_embeddings: int
    rms_norm_eps: float | None = None
    """Left out: 1e-5 in Apertus, 1e-6 in Qwen3."""
    rope_parameters: dict[str, Any] | None = None
    rope_theta: float | None = None
    rope_scaling: dict[str, Any] | None = None
    attention_bias: bool = False
    use_sliding_window: bool = False
    tie_word_embeddings: bool = False


def rotary_to_model(config: RotaryConfig, folder: Path) -> Model:
    """The [model] section of a config.json. Raises InitError with every field that our model cannot express."""
    heads, width = max(1, config.num_attention_heads), config.hidden_size
    try:
        model = msgspec.convert(
            {
                "n_layer": config.num_hidden_layers,
                "n_head": config.num_attention_heads,
                "n_kv_head": None if config.num_key_value_heads in (None, heads) else config.num_key_value_heads,
                "n_embd": width,
                "block_size": config.max_position_embeddings,
                "activation": ACTIVATIONS[config.model_type][1],
                "bias": config.attention_bias,
                "tied_head": config.tie_word_embeddings,
            },
            Model,
        )
    except msgspec.ValidationError as error:
        raise InitError(f"config.json describes no model ({error})", where=str(folder)) from None
    found = [
        f"{feature} ({name} is {value}, not {needed})" for feature, name, value, needed in _differences(config, model)
    ]
    if found:
        raise InitError(
            f"our model does not have its {', '.join(found)}",
            where=str(folder / "config.json"),
            todo="name a folder that `llmtui export` wrote, or a model without these",
        )
    return model


def _differences(config: RotaryConfig, model: Model) -> Iterator[tuple[str, str, Any, Any]]:
    """What our model computes otherwise: the feature, its field in `config`, the value there and ours."""
    apertus = config.model_type == "apertus"
    activation = config.hidden_act or ("xielu" if apertus else "silu")
    # without any field, Apertus scales as Llama 3
    given = config.rope_parameters is not None or config.rope_theta is not None
    rope = config.rope_parameters or config.rope_scaling or {}
    rope_type = rope.get("rope_type", rope.get("type", "default" if given or not apertus else "llama3"))
    # Qwen3 has heads of 128 and a base of 10,000 where the file says nothing
    head_size = config.head_dim or (model.n_embd // model.n_head if apertus else 128)
    theta = rope.get("rope_theta", config.rope_theta or (12_000_000.0 if apertus else ROPE_THETA))
    eps = config.rms_norm_eps or (1e-5 if apertus else RMS_NORM_EPS)
    compared = (
        ("activation", "hidden_act", activation, ACTIVATIONS[config.model_type][0]),
        ("epsilon of RMSNorm", "rms_norm_eps", eps, RMS_NORM_EPS),
        ("rope scaling", "rope_type", rope_type, "default"),
        ("base of the rotary embedding", "rope_theta", theta, ROPE_THETA),
        ("partial rotation", "partial_rotary_factor", rope.get("partial_rotary_factor", 1.0), 1.0),
        ("size of a head", "head_dim", head_size, model.n_embd // model.n_head),
        ("width of the MLP", "intermediate_size", config.intermediate_size, mlp_widths(model)[1]),
        ("sliding window", "use_sliding_window", config.use_sliding_window, False),
    )
    yield from (each for each in compared if each[2] != each[3])
    if model.n_embd % model.n_head:
        yield "width", "hidden_size", model.n_embd, f"a multiple of {model.n_head} heads"
