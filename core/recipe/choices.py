"""Values that a field of the model may take instead of its present one, so that a screen can step through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, get_args, get_type_hints

from msgspec.structs import replace

from core.recipe.checks import RecipeError, check_together
from core.recipe.schema import Model, Recipe

_HEAD_SIZES: Final = (8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256)
"""Sizes of a head in use, from tiny models to the largest."""
_POWERS: Final = tuple(2**power for power in range(3, 18))
_RATES: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)

ORDERED: Final = (
    "n_layer",
    "n_head",
    "n_kv_head",
    "n_embd",
    "block_size",
    "dropout",
    "size",
    "pad_vocabulary_multiple",
)
"""Fields whose values are numbers, from the smallest to the largest; the others have no order."""


def value_of(recipe: Recipe, name: str) -> Any:
    """The value of the field `name` of [model], or of `size` of [tokenize]; n_kv_head and qkv_bias in effect."""
    if name == "size":
        return recipe.tokenize.size
    model = recipe.model
    if name == "n_kv_head":
        return model.n_kv_head or model.n_head
    if name == "qkv_bias":
        return model.bias if model.qkv_bias is None else model.qkv_bias
    return getattr(model, name)


def with_value(recipe: Recipe, name: str, value: Any) -> Recipe:
    """`recipe` with another value of that field; a number of key/value heads that no longer fits follows n_head."""
    if name == "size":
        return replace(recipe, tokenize=replace(recipe.tokenize, size=value))
    model = replace(recipe.model, **{name: value})
    if name in ("n_layer", "n_head", "n_embd"):
        model = replace(model, depth=None)  # the shape is no longer that of one number
    if name == "n_head" and model.n_head % (model.n_kv_head or model.n_head):
        model = replace(model, n_kv_head=None)
    if model.n_kv_head == model.n_head:
        model = replace(model, n_kv_head=None)
    return replace(recipe, model=model)


def values(recipe: Recipe, name: str) -> list[Any]:
    """The values that give a valid recipe, numbers in ascending order; the present one is among them."""
    model, present = recipe.model, value_of(recipe, name)
    candidates: Sequence[Any]
    match name:
        case "n_layer":
            candidates = range(max(1, present - 1), min(1000, present + 1) + 1)
        case "n_head":
            candidates = [n for n in range(1, model.n_embd + 1) if model.n_embd % n == 0 and n <= 1000]
        case "n_kv_head":
            candidates = [n for n in range(1, model.n_head + 1) if model.n_head % n == 0]
        case "n_embd":
            candidates = [model.n_head * size for size in _HEAD_SIZES]
        case "block_size":
            candidates = _POWERS
        case "size":
            candidates = (257, *_POWERS[6:14])
        case "pad_vocabulary_multiple":
            candidates = (1, 8, 64, 128)
        case "dropout":
            candidates = _RATES
        case "qk_norm" | "bias" | "qkv_bias" | "tie_embeddings":
            candidates = (False, True)
        case _:
            candidates = get_args(get_args(get_type_hints(Model, include_extras=True)[name])[0])
    found = {value for value in candidates if _is_valid(with_value(recipe, name, value))} | {present}
    return sorted(found) if name in ORDERED else [value for value in candidates if value in found]


def step(recipe: Recipe, name: str, by: int) -> Recipe:
    """`recipe` with the field one value further (`by` 1) or back (-1).

    Numbers stop at the smallest and the largest, where the same recipe is returned; other values are a cycle.
    """
    found = values(recipe, name)
    index = found.index(value_of(recipe, name)) + by
    if name in ORDERED:
        return with_value(recipe, name, found[index]) if 0 <= index < len(found) else recipe
    return with_value(recipe, name, found[index % len(found)])


def _is_valid(recipe: Recipe) -> bool:
    try:
        check_together(recipe, "")
    except RecipeError:
        return False
    return True
