"""Recipe values as `--set` takes them."""

from __future__ import annotations

import pytest

from core.recipe.checks import RecipeError
from core.recipe.fields import fields
from core.recipe.file import load
from core.recipe.overrides import override, overrides_to, value_of
from core.recipe.schema import Recipe

CHANGES = [
    ["model.depth=4"],
    ["model.depth=4", "model.n_layer=3"],
    ["train.minutes=none", "train.steps=10"],
    ["model.norm=layer", "preprocess.steps=[]", 'chat.user="a \\"quoted\\" {text}\\n"', "model.qkv_bias=false"],
    ['train.groups=[{ names = "h.*", lr = 1e-3 }]', 'sample.prompts=["größe 😀", "\\u007f"]'],
]


@pytest.mark.parametrize("preset", [None, "demo", "gpt2"])
@pytest.mark.parametrize("changes", CHANGES)
def test_the_overrides_to_a_recipe_give_the_same_recipe(preset: str | None, changes: list[str]) -> None:
    base = {"name": "mine", "source": {"corpus": "stories"}}
    recipe = load(preset=preset, base=base, overrides=changes)
    shortest = overrides_to(recipe, preset=preset)
    assert load(preset=preset, base=base, overrides=shortest) == recipe
    assert len(shortest) <= len(changes) + 1


def test_a_derived_field_is_not_named() -> None:
    assert overrides_to(load(overrides=["model.depth=6"]), preset=None) == ["model.depth=6"]


def test_every_default_can_be_given_as_an_override() -> None:
    recipe = Recipe()
    overrides = [override(field.key, value_of(recipe, field)) for field in fields()]
    assert load(overrides=overrides) == recipe


def test_none_leaves_out_what_may_be_left_out() -> None:
    assert load(preset="demo", overrides=["train.minutes=none"]).train.minutes is None
    with pytest.raises(RecipeError, match=r"train\.lr = 'none' is not a number"):
        load(overrides=["train.lr=none"])
    assert load(overrides=["source.column=none"]).source.column == "none"
