"""Whether a recipe fits initial weights, by their configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.init.gpt2 import GPT2_VOCABULARIES
from core.init.spec import InitError
from core.recipe.schema import Model, Recipe

MODEL_FIELDS = (
    "n_layer", "n_head", "n_kv_head", "n_embd", "block_size", "positions", "norm", "activation", "qk_norm", "bias",
    "qkv_bias", "tie_embeddings",
)  # fmt: skip
"""Fields of a model that decide which weights it has, or what it computes with them."""


def differences(recipe: Model, weights: Model) -> list[str]:
    """One clause for each field in which the model of the recipe differs from the weights; empty where they fit.

    A shorter context fits, and so does an untied head, which starts as a copy of the embedding.
    """
    clauses = []
    for name in MODEL_FIELDS:
        ours, theirs = _effective(recipe, name), _effective(weights, name)
        derived = getattr(recipe, name) is None and getattr(weights, name) is None  # from a field that is compared
        fits = ours == theirs or derived
        if name == "block_size":
            fits = recipe.positions == "rotary" or ours <= theirs
        elif name == "tie_embeddings":
            fits = theirs or not ours
        if not fits:
            clauses.append(f"model.{name}: the recipe says {_toml(ours)}, the weights have {_toml(theirs)}")
    return clauses


def check_config(recipe: Model, weights: Model) -> None:
    """Raises InitError with every field in which they differ and the settings that would fit."""
    clauses = differences(recipe, weights)
    if clauses:
        fields = [clause.partition(":")[0].removeprefix("model.") for clause in clauses]
        settings = " ".join(f"--set model.{name}={_toml(_effective(weights, name))}" for name in fields)
        raise InitError(
            "\n        ".join(["the weights have another shape than the recipe:", *clauses]),
            where=f"model.init = {recipe.init}",
            todo=f"{settings}; or leave these fields out, where init alone decides",
        )


def check_vocabulary(recipe: Recipe, implied: Mapping[str, Any]) -> None:
    """Raises InitError where the recipe's vocabulary is of another kind than that of the `implied` tables."""
    theirs = implied.get("tokenize", {}).get("vocabulary")
    ours = recipe.tokenize.vocabulary
    if theirs is not None and ours != theirs and not {ours, theirs} <= set(GPT2_VOCABULARIES):
        raise wrong_vocabulary(f"{ours} in the recipe, {theirs} there", f"--set tokenize.vocabulary={theirs}")


def wrong_vocabulary(what: str, todo: str) -> InitError:
    """The error for token ids with another meaning than those the weights were trained on."""
    return InitError(f"tokens from another vocabulary than the model's: {what}", where="model.init", todo=todo)


def _effective(model: Model, name: str) -> Any:
    """The value of a field, with the default of an optional one."""
    value = getattr(model, name)
    if value is None:
        return {"n_kv_head": model.n_head, "qkv_bias": model.bias}[name]
    return value


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
