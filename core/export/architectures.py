"""Which architecture of `transformers` computes what a model computes, or which fields no architecture has.

Imports no torch: plans and screens say it before a training begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from core.errors import UsageError
from core.recipe.schema import Model

ArchitectureName = Literal["gpt2", "apertus", "qwen3"]


class NotExportableError(UsageError):
    """No architecture of other programs computes what the model computes."""

    doing = "export the model"


class Architecture(NamedTuple):
    """An architecture of `transformers`, which llama.cpp and mlx-lm have under the same name."""

    name: ArchitectureName
    """`model_type` in config.json."""
    class_name: str
    requires: Mapping[str, Any]
    """Fields of [model] that must have these values; every other one of `FREE` may have any."""


FREE: Final = frozenset(
    (
        *("depth", "init", "zero_init", "dropout"),  # how it is trained
        *("n_layer", "n_head", "n_embd", "block_size", "tie_embeddings", "pad_vocabulary_multiple"),  # sizes
    )
)
"""Fields of [model] that any architecture can express, or that do not change what a trained model computes."""

_ROTARY: Final = {
    "objective": "causal",
    "positions": "rotary",
    "norm": "rms",
    "qk_norm": True,
    "bias": False,
    "qkv_bias": False,
}
# n_kv_head is free in the rotary architectures, the biases are in GPT-2, where a missing one is exported as zeros
ARCHITECTURES: Final = (
    Architecture("apertus", "ApertusForCausalLM", _ROTARY | {"activation": "relu2"}),
    Architecture("qwen3", "Qwen3ForCausalLM", _ROTARY | {"activation": "swiglu"}),
    Architecture(
        "gpt2",
        "GPT2LMHeadModel",
        {
            "objective": "causal",
            "positions": "learned",
            "norm": "layer",
            "activation": "gelu",
            "qk_norm": False,
            "n_kv_head": None,
        },
    ),
)
"""Of equally near ones the first is named."""


class Obstacle(NamedTuple):
    """A field of [model] that keeps a model from being an architecture."""

    field: str
    value: object
    needed: object
    """None: to be left out."""


class Match(NamedTuple):
    """The nearest architecture to a model, and what keeps the model from being it."""

    architecture: Architecture
    obstacles: tuple[Obstacle, ...]
    """Empty where the model is that architecture."""

    @property
    def exact(self) -> bool:
        return not self.obstacles


def nearest(model: Model) -> Match:
    """The architecture with the fewest fields that differ from `model`; the first of `ARCHITECTURES` of equal ones."""
    return min((_match(model, each) for each in ARCHITECTURES), key=lambda match: len(match.obstacles))


def architecture_of(model: Model) -> Architecture:
    """The architecture that computes the same logits as `model`.

    Raises NotExportableError with the fields that prevent it, and the nearest recipe that can be exported.
    """
    match = nearest(model)
    if match.obstacles:
        raise NotExportableError(f"no architecture of other programs has {reasons(match)}", todo=advice(match))
    return match.architecture


def reasons(match: Match) -> str:
    """The obstacles of `match` as settings: `model.qk_norm = false with model.activation = gelu`."""
    return " with ".join(f"model.{each.field} = {_toml(each.value)}" for each in match.obstacles)


def advice(match: Match) -> str:
    """The changes that make the recipe of `match` exportable."""
    changes = [
        f"leave model.{each.field} out" if each.needed is None else f"--set model.{each.field}={_toml(each.needed)}"
        for each in match.obstacles
    ]
    return f"the nearest that can be exported is {match.architecture.class_name}: {', '.join(changes)}"


def _match(model: Model, architecture: Architecture) -> Match:
    found = []
    for field, needed in architecture.requires.items():
        value = getattr(model, field)
        inherited = value is None or (field == "n_kv_head" and value == model.n_head)  # `bias`, n_head
        if not inherited and value != needed:
            found.append(Obstacle(field, value, needed))
    return Match(architecture, tuple(found))


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
