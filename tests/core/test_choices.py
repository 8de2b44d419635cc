"""The values that fields of the model can be stepped through."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.recipe.checks import check_together
from core.recipe.choices import ORDERED, step, value_of, values, with_value
from core.recipe.file import load, presets
from core.recipe.schema import Model, Recipe
from tests.core.test_count import shapes

FIELDS = (
    "n_layer", "n_head", "n_kv_head", "n_embd", "block_size", "size", "positions", "norm", "activation", "qk_norm",
    "bias", "qkv_bias", "tie_embeddings", "objective", "dropout", "pad_vocabulary_multiple",
)  # fmt: skip


def recipe(**model: Any) -> Recipe:
    return Recipe(model=Model(**model))


@given(shapes(), st.sampled_from(FIELDS))
def test_every_value_gives_a_valid_recipe_and_the_present_one_is_among_them(shape: Model, name: str) -> None:
    given = Recipe(model=shape)
    offered = values(given, name)
    assert value_of(given, name) in offered and len(set(offered)) == len(offered)
    for value in offered:
        changed = with_value(given, name, value)
        check_together(changed, "")
        assert value_of(changed, name) == value
    if name in ORDERED:
        assert offered == sorted(offered)


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("name", FIELDS)
def test_a_step_and_a_step_back_is_the_same_value(preset: str, name: str) -> None:
    given = load(preset=preset)
    there = step(given, name, 1)
    if there != given:
        assert value_of(step(there, name, -1), name) == value_of(given, name)


def test_numbers_stop_at_their_ends_and_words_are_a_cycle() -> None:
    assert step(recipe(n_layer=1), "n_layer", -1) == recipe(n_layer=1)
    assert value_of(step(recipe(activation="relu2"), "activation", 1), "activation") == "gelu"


def test_key_value_heads_follow_the_heads_where_they_no_longer_divide_them() -> None:
    fewer = with_value(recipe(n_head=12, n_kv_head=4, n_embd=768), "n_head", 6)
    assert value_of(fewer, "n_kv_head") == 6
    assert with_value(recipe(n_head=12, n_kv_head=4, n_embd=768), "n_head", 8).model.n_kv_head == 4
    assert with_value(recipe(n_head=4), "n_kv_head", 4) == recipe(n_head=4)


def test_a_changed_shape_is_no_longer_that_of_the_depth() -> None:
    deep = load(overrides=["model.depth=6"])
    assert step(deep, "n_layer", 1).model == replace(deep.model, n_layer=7, depth=None)
    assert step(deep, "qk_norm", 1).model.depth == 6
