"""Checkpoints on the disk: contents, retention, damage that is named, and versions that are refused."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from core.events import CheckpointSaved, Metric, Resumed
from core.recipe.schema import Recipe, Train
from core.storage.artifact import Artifact
from core.train.checkpoint import Snapshot, TrainingInputs, delete_superseded, newest_checkpoint, restore
from core.train.commands import SaveCheckpoint
from core.train.resume_compat import NewerCheckpointError
from core.train.trainer import Trainer
from tests.core.stages import remarks
from tests.core.training import CPU, checkpoint_steps, edit_manifest, flip_bit, of_type, train

pytestmark = pytest.mark.heavy

FILES = ("model.safetensors", "train.safetensors", "state.json", "vocabulary.json", "model.json", "manifest.json")

Make = Callable[..., Recipe]


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_altered_or_incomplete_checkpoint_is_skipped_and_its_damage_named(
    copied_pair: Path, name: str
) -> None:
    victim = copied_pair / "step-00000030" / name
    data, rng = victim.read_bytes(), random.Random(name)

    def damage() -> str:
        newest, damaged = newest_checkpoint(copied_pair)
        assert newest is not None and newest.path.name == "step-00000020"
        (only,) = damaged
        assert only.startswith("step-00000030: ")
        return only

    named = "manifest" if name == "manifest.json" else name
    for sixteenth in range(16):
        victim.write_bytes(data[: len(data) * sixteenth // 16])
        assert named in damage(), f"truncated to {sixteenth}/16"
    # a bit in every byte of the manifest, which has only its own seal
    bytes_ = range(len(data)) if name == "manifest.json" else [0, len(data) - 1, *rng.sample(range(len(data)), 6)]
    for byte in bytes_:
        bit = 8 * byte + rng.randrange(8)
        victim.write_bytes(flip_bit(data, bit))
        assert named in damage(), f"bit {bit} flipped"
    victim.unlink()
    assert named in damage()
    victim.write_bytes(data)
    newest, damaged = newest_checkpoint(copied_pair)
    assert newest is not None and newest.path.name == "step-00000030" and not damaged


def test_training_resumes_from_the_newest_intact_checkpoint_and_deletes_the_damaged_one(
    copied_pair: Path, make_recipe: Make, tokens: Artifact
) -> None:
    weights = copied_pair / "step-00000030" / "model.safetensors"
    weights.write_bytes(flip_bit(weights.read_bytes(), 8000))
    recipe = make_recipe("train.steps=40", "train.keep_checkpoints=2")
    events = train(
        Trainer(recipe, tokens, copied_pair, CPU),
        lambda metric: (SaveCheckpoint(),) if metric.step == 25 else None,
    )
    assert any("step-00000030: model.safetensors has changed" in note for note in remarks(events))
    assert next(of_type(Resumed, events)).step == 20
    # at step 25 the damaged checkpoint of step 30 counts neither as kept nor as the newest
    assert [saved.step for saved in of_type(CheckpointSaved, events)] == [25, 40]
    assert checkpoint_steps(copied_pair) == [25, 40]


def test_without_an_intact_checkpoint_training_restarts_with_a_warning(
    copied_pair: Path, make_recipe: Make, tokens: Artifact
) -> None:
    for path in copied_pair.glob("step-*"):
        (path / "state.json").unlink()
    events = train(Trainer(make_recipe("train.steps=3"), tokens, copied_pair, CPU))
    assert [note.count("state.json is missing") for note in remarks(events)] == [1, 1, 0]
    assert "begins anew" in remarks(events)[-1]
    assert [metric.step for metric in of_type(Metric, events)] == [1, 2, 3]


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(schema=99, files="another format", version="9.1"),
        lambda manifest: (manifest["facts"].update(format=99), manifest.update(version="9.1")),
        lambda manifest: (manifest["recipe"]["train"].update(lookahead=3), manifest.update(version="9.1")),
    ],
    ids=["manifest", "layout", "recipe"],
)
def test_a_checkpoint_of_a_newer_version_is_neither_skipped_nor_deleted(
    copied_pair: Path, make_recipe: Make, tokens: Artifact, change: Callable[[dict[str, object]], None]
) -> None:
    edit_manifest(copied_pair / "step-00000030", change)
    with pytest.raises(NewerCheckpointError) as caught:
        train(Trainer(make_recipe("train.steps=40"), tokens, copied_pair, CPU))
    assert "9.1" in caught.value.what
    assert "update llmtui" in caught.value.todo
    assert sorted(path.name for path in copied_pair.iterdir()) == ["step-00000020", "step-00000030"]


def test_retention_leaves_a_newer_versions_checkpoint_alone(copied_pair: Path) -> None:
    edit_manifest(copied_pair / "step-00000020", lambda manifest: manifest.update(schema=99))
    delete_superseded(Artifact.open(copied_pair / "step-00000030"), keep=2)
    assert len(list(copied_pair.glob("step-*"))) == 2


def test_the_newest_checkpoints_and_the_best_are_kept(make_recipe: Make, tokens: Artifact, tmp_path: Path) -> None:
    recipe = make_recipe("train.steps=60", "train.lr=0.02", "train.checkpoint_every=5", "train.keep_checkpoints=2")
    train(Trainer(recipe, tokens, tmp_path, CPU))
    assert checkpoint_steps(tmp_path)[-2:] == [55, 60]
    assert len(checkpoint_steps(tmp_path)) <= 3


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ({10: 3.0, 20: 1.0, 30: 2.0, 40: 2.5, 50: None}, [20, 40, 50]),
        ({10: None, 20: None, 30: None}, [20, 30]),
        ({10: 1.0, 20: 2.0}, [10, 20]),
    ],
)
def test_of_older_checkpoints_only_the_one_with_the_lowest_slice_loss_is_kept(
    saved_pair: Path, tmp_path: Path, losses: dict[int, float | None], kept: list[int]
) -> None:
    for step, loss in losses.items():
        path = Path(shutil.copytree(saved_pair / "step-00000020", tmp_path / f"step-{step:08d}"))
        facts = {"step": step} | ({"slice_loss": loss} if loss else {})
        edit_manifest(path, lambda manifest, facts=facts: manifest.update(facts=facts))
    delete_superseded(Artifact.open(path), keep=2)
    assert checkpoint_steps(tmp_path) == kept


def test_the_manifest_of_a_checkpoint_records_tokens_recipe_and_step(
    saved_pair: Path, make_recipe: Make, tokens: Artifact
) -> None:
    manifest = Artifact.open(saved_pair / "step-00000030").manifest
    assert manifest.inputs == {"tokens": tokens.content_fingerprint()}
    assert msgspec.convert(manifest.recipe["train"], Train) == make_recipe("train.steps=40").train
    facts = {"step": 30, "finished": 0, "format": 1, "world_size": 1, "torch": str(torch.__version__)}
    assert manifest.facts.items() >= facts.items()


def test_each_rank_restores_its_own_random_state(make_recipe: Make, tokens: Artifact, tmp_path: Path) -> None:
    trainer = Trainer(make_recipe("train.steps=40"), tokens, tmp_path, CPU)
    ranks = [{"torch": torch.Generator().manual_seed(rank).get_state()} for rank in range(2)]
    inputs = TrainingInputs(trainer.recipe, tokens, "0" * 16)
    snapshot = Snapshot.take(trainer.parallel, trainer.optimizers, trainer.state, inputs, random_states=ranks)
    saved = snapshot.write(tmp_path)
    assert saved.facts["world_size"] == 2
    for rank in range(2):
        restore(saved, trainer.parallel, trainer.optimizers, rank)
        assert torch.equal(torch.get_rng_state(), ranks[rank]["torch"])
