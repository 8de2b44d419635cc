"""`model.init` in recipes: runs, folders and published models provide architecture and vocabulary."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from core.model.gpt import GPT
from core.recipe.checks import RecipeError
from core.recipe.file import load
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.storage.workspace import Workspace
from tests.byte_models import save_checkpoint
from tests.core.gpt2_folders import SMALL, save_gpt2
from tests.core.initial_weights import (
    SHAPE,
    VOCABULARY,
    load_error,
    load_model,
    load_resolved,
)


def run_with_checkpoints(workspace: Workspace, name: str, losses: dict[int, float], **fields: Any) -> Run:
    """A run of SHAPE with a checkpoint for each step, each with other weights."""
    shape = msgspec.structs.replace(SHAPE, **fields)
    run = Run.create(workspace, Recipe(name=name, model=shape, tokenize=load(preset="gpt2").tokenize))

    for step, loss in losses.items():
        save_checkpoint(run.checkpoints, step, shape, VOCABULARY, seed=step, slice_loss=loss)
    return run


def embedding_of_step(step: int) -> torch.Tensor:
    torch.manual_seed(step)
    return GPT(SHAPE, 300).wte.weight


def test_a_run_provides_its_best_checkpoint_or_that_of_a_step(workspace: Workspace) -> None:
    run = run_with_checkpoints(workspace, "older", {10: 3.0, 20: 2.0, 30: 2.5})
    assert torch.equal(load_model("run:older", workspace).wte.weight, embedding_of_step(20))
    assert torch.equal(load_model(f"run:{run.id}@30", workspace).wte.weight, embedding_of_step(30))
    assert "step-00000010, step-00000020" in load_error("run:older@15", workspace)
    assert "did you mean 'older'?" in load_error("run:oldr", workspace)
    weights = run.checkpoints / "step-00000020" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert torch.equal(load_model("run:older", workspace).wte.weight, embedding_of_step(30))


@pytest.mark.heavy
def test_a_recipe_takes_architecture_and_vocabulary_from_the_run(workspace: Workspace) -> None:
    run = run_with_checkpoints(workspace, "older", {10: 3.0}, dropout=0.2)
    recipe = load_resolved(overrides=["model.init=run:older", "model.dropout=0.3", "name=older"])
    assert recipe.model == msgspec.structs.replace(SHAPE, dropout=0.3, init=f"run:{run.id}")
    assert recipe.tokenize.vocabulary == "gpt2"
    run_with_checkpoints(workspace, "older", {10: 3.0}, n_layer=1)  # a later run of that name changes nothing
    assert load_resolved(base=msgspec.to_builtins(recipe)) == recipe
    with pytest.raises(RecipeError, match="tokens from another vocabulary"):
        load_resolved(overrides=[f"model.init=run:{run.id}", "tokenize.vocabulary=bytes"])
    with pytest.raises(RecipeError, match=r"model\.n_embd: the recipe says 32, the weights have 16"):
        load_resolved(overrides=[f"model.init=run:{run.id}", "model.n_embd=32"])


@pytest.mark.parametrize("name", ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"])
def test_init_alone_makes_a_recipe_of_the_published_architecture(name: str) -> None:
    known = load(preset=name)
    recipe = load_resolved(overrides=[f"model.init=hf:{name}"])
    assert recipe.model == msgspec.structs.replace(known.model, init=f"hf:{name}")
    assert recipe.tokenize.vocabulary == "gpt2"
    assert (recipe.train.optimizer, recipe.train.lr) == ("adamw", 3e-5)  # nanoGPT, config/finetune_shakespeare.py
    same = load_resolved(
        overrides=[f"model.init=hf:openai-community/{name}@main", "train.lr=1e-4", "model.dropout=0.1"]
    )
    assert (same.model.n_layer, same.train.lr, same.model.dropout) == (known.model.n_layer, 1e-4, 0.1)


def test_a_folder_provides_its_architecture_and_is_stored_as_an_absolute_path(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_gpt2(tmp_path / "weights", **SMALL)
    (tmp_path / "mine.toml").write_text('[model]\ninit = "weights"\n')
    recipe = load_resolved(file=tmp_path / "mine.toml")
    assert recipe.model == msgspec.structs.replace(SHAPE, init=str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    assert load_resolved(overrides=["model.init=weights"]).model == recipe.model
    shutil.rmtree(tmp_path / "weights")
    with pytest.raises(RecipeError, match="there is no such folder"):
        load_resolved(file=tmp_path / "mine.toml")
    assert load_resolved(base=msgspec.to_builtins(recipe)) == recipe  # a finished run can still be shown


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.init=hf:gpt3", "did you mean 'gpt2'?"),
        ("model.init=hf:../x", "write hf:NAMESPACE/NAME"),
        ("model.init=run:X Y", "write run:NAME"),
        ("model.init=/nowhere", "there is no such folder"),
        ("model.init=/etc/passwd", "it is no folder"),
        ("model.init=/", "there is no model.json or config.json in it"),
        (f"model.init=/{'x' * 3000}", "file name too long"),
        ('model.init="a\\u0000b"', "embedded null"),
        ("model.init=~nobody-of-that-name/x", "names no weights"),
        ("model.init=run:nothing", "there are no runs yet"),
    ],
)
def test_an_invalid_init_is_refused_at_once(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_resolved(overrides=[override])
    assert message in caught.value.sentence()


def test_parsing_a_recipe_reads_neither_runs_nor_weights(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.init.resolve.find_run_directory", pytest.fail)
    monkeypatch.setattr("core.init.resolve.read_config", pytest.fail)
    for init in ("run:older", "/nowhere", "hf:gpt2"):
        recipe = load(overrides=[f"model.init={init}"])
        assert recipe.model == msgspec.structs.replace(Recipe().model, init=init)
