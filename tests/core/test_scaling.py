"""model.depth: what follows from it, and its precedence among the layers of a recipe."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from core.recipe.checks import RecipeError
from core.recipe.file import load
from core.recipe.scaling import scale_to_depth
from core.recipe.schema import Model, Train


@pytest.mark.heavy
@pytest.mark.parametrize("depth", range(1, 49))
def test_every_depth_gives_a_valid_model(depth: int) -> None:
    recipe = load(overrides=[f"model.depth={depth}"])
    model = recipe.model
    assert (model.n_layer, model.depth) == (depth, depth)
    assert model.n_embd == model.n_head * 64 == max(128, 64 * depth)
    assert recipe.train.batch_size.bit_count() == 1  # a power of two


def test_depths_near_the_default_have_the_default_training() -> None:
    for depth in (3, 4):
        assert scale_to_depth(depth)["train"]["batch_size"] == Train().batch_size
    four = scale_to_depth(4)
    assert four["model"]["n_embd"] == Model().n_embd
    assert (four["train"]["lr"], four["train"]["muon_lr"]) == (Train().lr, Train().muon_lr)


def test_learning_rates_fall_and_batches_grow_with_depth() -> None:
    four, twelve = scale_to_depth(4)["train"], scale_to_depth(12)["train"]
    assert twelve["lr"] == pytest.approx(four["lr"] * (256 / 768) ** 0.5, rel=1e-2)  # nanochat: 1 / sqrt(width)
    # twelve has 27 times as many parameters in its blocks: 27^0.4 = 3.7, as a power of two 4
    assert twelve["batch_size"] == 4 * four["batch_size"]
    batches = [scale_to_depth(depth)["train"]["batch_size"] for depth in range(1, 49)]
    assert batches == sorted(batches)


@pytest.mark.heavy
def test_depth_has_lower_precedence_than_other_fields_of_its_layer(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[model]\ndepth = 6\nn_layer = 5\n[train]\nlr = 0.001\n")
    recipe = load(preset="modern", file=file)
    assert (recipe.model.n_layer, recipe.model.n_embd, recipe.model.n_head) == (5, 384, 6)
    assert (recipe.train.lr, recipe.train.batch_size) == (0.001, 16)
    assert recipe.model.pad_vocabulary_multiple == 64  # depth does not set it
    higher = load(preset="modern", file=file, overrides=["model.depth=4", "train.batch_size=3"])
    assert (higher.model.n_layer, higher.train.lr, higher.train.batch_size) == (4, 0.008, 3)
    assert load(overrides=["model.n_layer=2", "model.depth=6"]).model.n_layer == 2  # in whatever order
    assert load(base=msgspec.to_builtins(recipe)) == recipe


def test_an_invalid_depth_is_refused() -> None:
    for value in ("0", "49", "true", "deep"):
        with pytest.raises(RecipeError, match=r"model\.depth"):
            load(overrides=[f"model.depth={value}"])
