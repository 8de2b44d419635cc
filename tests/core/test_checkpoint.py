"""Checkpoints: whole or named as damaged, of the moment they were asked for, and kept while there is nothing newer."""

from __future__ import annotations

import math
import random
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
import torch

from core.errors import DiskError
from core.events import CheckpointSaved, Evaluation, Event, Metric, Note, Resumed
from core.jobs.prepare import prepare
from core.model.memory import checkpoint_bytes
from core.recipe.fields import fields
from core.recipe.schema import Group, Recipe, Train
from core.storage.artifact import Artifact, seal
from core.storage.workspace import Workspace
from core.tokenize.shards import ShardError
from core.train import checkpoint as checkpoints
from core.train.commands import SaveCheckpoint, Stop
from core.train.resume_compat import FIXED, NewerCheckpointError, ResumeConflictError, recipe_changes
from core.train.trainer import Trainer
from tests.conftest import tiny_recipe, write_corpus
from tests.core.stages import ROOT, made, remarks
from tests.core.training import CPU, of, same, saved_tensors, tensors, train
from tests.waiting import wait_for

FILES = ("model.safetensors", "train.safetensors", "state.json", "vocabulary.json", "model.json", "manifest.json")

Make = Callable[..., Recipe]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def make(place: Path) -> Make:
    """Tiny recipes, with dropout."""
    corpus = write_corpus(place / "corpus")
    return lambda *overrides: tiny_recipe(corpus, *overrides)


@pytest.fixture(scope="module")
def tokens(place: Path, make: Make) -> Artifact:
    return made(prepare(make(), Workspace(place / "home").prepare())).tokens


@pytest.fixture(scope="module")
def pair(place: Path, make: Make, tokens: Artifact) -> Path:
    """Checkpoints of steps 20 and 30 of 40, for looking at."""
    directory = place / "pair"
    directory.mkdir()
    train(Trainer(make("train.steps=40"), tokens, directory, CPU), stop_at(30))
    return directory


@pytest.fixture
def two(pair: Path, tmp_path: Path) -> Path:
    """A copy of `pair`, for everything else."""
    return Path(shutil.copytree(pair, tmp_path / "two"))


def stop_at(step: int) -> Callable[[Metric], tuple[Stop, ...] | None]:
    return lambda metric: (Stop(),) if metric.step == step else None


def steps_in(directory: Path) -> list[int]:
    return [int(Artifact.open(path).facts["step"]) for path in sorted(directory.glob("step-*"))]


def flipped(data: bytes, bit: int) -> bytes:
    copy = bytearray(data)
    copy[bit // 8] ^= 1 << bit % 8
    return bytes(copy)


# -- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_truncated_flipped_or_deleted_a_checkpoint_is_passed_over_and_its_damage_named(two: Path, name: str) -> None:
    victim = two / "step-00000030" / name
    data, dice = victim.read_bytes(), random.Random(name)

    def damage() -> str:
        found, damaged = checkpoints.newest_checkpoint(two)
        assert found is not None and found.path.name == "step-00000020"
        (only,) = damaged
        assert only.startswith("step-00000030: ")
        return only

    named = "manifest" if name == "manifest.json" else name
    for sixteenth in range(16):
        victim.write_bytes(data[: len(data) * sixteenth // 16])
        assert named in damage(), f"truncated to {sixteenth}/16"
    # of the manifest a bit in every byte: nothing else vouches for it
    bytes_ = range(len(data)) if name == "manifest.json" else [0, len(data) - 1, *dice.sample(range(len(data)), 6)]
    for byte in bytes_:
        bit = 8 * byte + dice.randrange(8)
        victim.write_bytes(flipped(data, bit))
        assert named in damage(), f"bit {bit} flipped"
    victim.unlink()
    assert named in damage()
    victim.write_bytes(data)
    found, damaged = checkpoints.newest_checkpoint(two)
    assert found is not None and found.path.name == "step-00000030" and not damaged


def test_training_goes_on_from_the_newest_whole_checkpoint_and_clears_the_damaged_one_away(
    two: Path, make: Make, tokens: Artifact
) -> None:
    weights = two / "step-00000030" / "model.safetensors"
    weights.write_bytes(flipped(weights.read_bytes(), 8000))
    recipe = make("train.steps=40", "train.keep_checkpoints=2")
    said = train(Trainer(recipe, tokens, two, CPU), lambda metric: (SaveCheckpoint(),) if metric.step == 25 else None)
    assert any("step-00000030: model.safetensors has changed" in note for note in remarks(said))
    assert next(of(Resumed, said)).step == 20
    # at step 25 the damaged one of step 30 neither pushes a whole one out nor is taken for the newest
    assert [saved.step for saved in of(CheckpointSaved, said)] == [25, 40]
    assert steps_in(two) == [25, 40]


def test_with_no_whole_checkpoint_left_it_is_said_that_training_begins_anew(
    two: Path, make: Make, tokens: Artifact
) -> None:
    for path in two.glob("step-*"):
        (path / "state.json").unlink()
    said = train(Trainer(make("train.steps=3"), tokens, two, CPU))
    assert [note.count("state.json is missing") for note in remarks(said)] == [1, 1, 0]
    assert "begins anew" in remarks(said)[-1]
    assert [metric.step for metric in of(Metric, said)] == [1, 2, 3]


def rewrite(checkpoint: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change the manifest of a checkpoint as another version might have written it."""
    manifest = msgspec.json.decode((checkpoint / "manifest.json").read_bytes())
    change(manifest)
    (checkpoint / "manifest.json").write_bytes(seal(msgspec.json.encode(manifest)))


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(schema=99, files="told in another way", version="9.1"),
        lambda manifest: (manifest["facts"].update(format=99), manifest.update(version="9.1")),
        lambda manifest: (manifest["recipe"]["train"].update(lookahead=3), manifest.update(version="9.1")),
    ],
    ids=["manifest", "layout", "recipe"],
)
def test_a_checkpoint_of_a_newer_version_is_neither_passed_over_nor_deleted(
    two: Path, make: Make, tokens: Artifact, change: Callable[[dict[str, object]], None]
) -> None:
    rewrite(two / "step-00000030", change)
    with pytest.raises(NewerCheckpointError) as caught:
        train(Trainer(make("train.steps=40"), tokens, two, CPU))
    assert "9.1" in caught.value.what
    assert "update llmtui" in caught.value.todo
    assert sorted(path.name for path in two.iterdir()) == ["step-00000020", "step-00000030"]


def test_retention_leaves_a_newer_versions_checkpoint_alone(two: Path) -> None:
    rewrite(two / "step-00000020", lambda manifest: manifest.update(schema=99))
    checkpoints.delete_superseded(Artifact.open(two / "step-00000030"), keep=2)
    assert len(list(two.glob("step-*"))) == 2


# -- what is kept ---------------------------------------------------------------------------------------------------


def test_the_newest_checkpoints_and_the_best_are_kept(make: Make, tokens: Artifact, tmp_path: Path) -> None:
    recipe = make("train.steps=60", "train.lr=0.02", "train.checkpoint_every=5", "train.keep_checkpoints=2")
    train(Trainer(recipe, tokens, tmp_path, CPU))
    assert steps_in(tmp_path)[-2:] == [55, 60]
    assert len(steps_in(tmp_path)) <= 3


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ({10: 3.0, 20: 1.0, 30: 2.0, 40: 2.5, 50: None}, [20, 40, 50]),
        ({10: None, 20: None, 30: None}, [20, 30]),
        ({10: 1.0, 20: 2.0}, [10, 20]),
    ],
)
def test_of_all_others_only_the_lowest_loss_on_the_slice_is_kept(
    pair: Path, tmp_path: Path, losses: dict[int, float | None], kept: list[int]
) -> None:
    for step, loss in losses.items():
        path = Path(shutil.copytree(pair / "step-00000020", tmp_path / f"step-{step:08d}"))
        facts = {"step": step} | ({"slice_loss": loss} if loss else {})
        rewrite(path, lambda manifest, facts=facts: manifest.update(facts=facts))  # type: ignore[misc]
    checkpoints.delete_superseded(Artifact.open(path), keep=2)
    assert steps_in(tmp_path) == kept


def test_a_checkpoint_says_what_it_is_of(pair: Path, make: Make, tokens: Artifact) -> None:
    manifest = Artifact.open(pair / "step-00000030").manifest
    assert manifest.inputs == {"tokens": tokens.content()}
    assert msgspec.convert(manifest.recipe["train"], Train) == make("train.steps=40").train
    facts = {"step": 30, "finished": 0, "format": 1, "world_size": 1, "torch": str(torch.__version__)}
    assert manifest.facts.items() >= facts.items()


def test_each_rank_gets_its_own_random_state_back(make: Make, tokens: Artifact, tmp_path: Path) -> None:
    trainer = Trainer(make("train.steps=40"), tokens, tmp_path, CPU)
    ranks = [{"torch": torch.Generator().manual_seed(rank).get_state()} for rank in range(2)]
    origin = checkpoints.TrainingInputs(trainer.recipe, tokens, "0" * 16)
    snapshot = checkpoints.Snapshot.take(trainer.model, trainer.optimizers, trainer.state, origin, random_states=ranks)
    saved = snapshot.write(tmp_path)
    assert saved.facts["world_size"] == 2
    for rank in range(2):
        checkpoints.restore(saved, trainer.model, trainer.optimizers, rank)
        assert torch.equal(torch.get_rng_state(), ranks[rank]["torch"])


# -- beside the training --------------------------------------------------------------------------------------------


@pytest.fixture
def held(tokens: Artifact, tmp_path: Path) -> Artifact:
    """The tokens, in a place of their own where they may be changed."""
    return Artifact.open(Path(shutil.copytree(tokens.path, tmp_path / "held")))


def held_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Whoever saves a checkpoint waits until what is returned is called."""
    gate, write = threading.Event(), checkpoints.write_tensors

    def waiting(found: dict[str, torch.Tensor], path: Path) -> None:
        gate.wait()
        write(found, path)

    monkeypatch.setattr(checkpoints, "write_tensors", waiting)
    return gate.set


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_is_saved_is_the_moment_of_the_request_however_far_training_has_gone_on(
    make: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    recipe = make("train.steps=40", f"train.optimizer={optimizer}")
    for name in ("stopped", "whole"):
        (tmp_path / name).mkdir()
    train(Trainer(recipe, tokens, tmp_path / "stopped", CPU), stop_at(20))
    trainer = Trainer(recipe, tokens, tmp_path / "whole", CPU)
    release = held_up(monkeypatch)

    def go_on(metric: Metric) -> None:
        if metric.step == 35:
            assert not list((tmp_path / "whole").glob("step-*"))
            release()

    said = train(trainer, go_on)
    first, last = of(CheckpointSaved, said)
    assert (first.step, last.step) == (20, 40)
    told = [metric.step for metric in of(Metric, said[: said.index(first)])]
    assert told[-1] >= 35  # said when it was on the disk, not when it was asked for
    left, right = (tensors(tmp_path / name / "step-00000020") for name in ("stopped", "whole"))
    assert same(left, right)


def test_a_second_checkpoint_waits_for_the_first_and_both_are_saved(
    make: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(make("train.steps=60"), tokens, tmp_path, CPU)
    release = held_up(monkeypatch)

    def go_on(metric: Metric) -> None:
        if metric.step == 40:
            threading.Timer(0.3, release).start()  # the loop is about to wait for it

    said = train(trainer, go_on)
    assert [saved.step for saved in of(CheckpointSaved, said)] == [20, 40, 60]


def test_a_trainer_that_is_closed_finishes_what_it_was_writing(
    make: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(make("train.steps=60"), tokens, tmp_path, CPU)
    release = held_up(monkeypatch)
    talk = trainer.run()
    for event in talk:
        if isinstance(event, Metric) and event.step == 21:
            break
    threading.Timer(0.2, release).start()
    talk.close()
    assert steps_in(tmp_path) == [20]


@pytest.mark.parametrize("available", [0, 10**9])
def test_where_memory_is_short_it_is_written_without_a_copy(
    make: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: int
) -> None:
    def copied(_: checkpoints.Snapshot) -> NoReturn:
        assert available, "it was copied"
        raise MemoryError  # less is there than the system had said

    for name in ("short", "ample"):
        (tmp_path / name).mkdir()
    recipe = make("train.steps=30")
    train(Trainer(recipe, tokens, tmp_path / "ample", CPU))
    monkeypatch.setattr("core.train.async_checkpoint.available_memory", lambda: available)
    monkeypatch.setattr(checkpoints.Snapshot, "copied", copied)
    said = train(Trainer(recipe, tokens, tmp_path / "short", CPU))
    steps = [(type(event).__name__, event.step) for event in said if isinstance(event, Metric | CheckpointSaved)]
    assert steps[19:22] == [("Metric", 20), ("Saved", 20), ("Metric", 21)]
    assert same(saved_tensors(tmp_path / "short"), saved_tensors(tmp_path / "ample"))


def test_a_vocabulary_that_is_deleted_meanwhile_costs_no_checkpoint(make: Make, held: Artifact, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()

    def delete(metric: Metric) -> None:
        if metric.step == 5:
            shutil.rmtree(held.path)

    said = train(Trainer(make("train.steps=30"), held, tmp_path / "run", CPU), delete)
    assert [saved.step for saved in of(CheckpointSaved, said)] == [20, 30]
    assert not [note for note in of(Note, said) if note.level == "warning"]
    assert Artifact.open(tmp_path / "run" / "step-00000030", verify=True).facts["finished"]


# -- a full disk ----------------------------------------------------------------------------------------------------


def test_the_room_that_is_asked_for_is_what_a_checkpoint_takes(make: Make, tokens: Artifact, tmp_path: Path) -> None:
    trainer = Trainer(make("train.steps=1", "model.n_embd=128"), tokens, tmp_path, CPU)
    train(trainer)
    origin = checkpoints.TrainingInputs(trainer.recipe, tokens, "0" * 16)
    size = checkpoints.Snapshot.take(trainer.model, trainer.optimizers, trainer.state, origin).size
    taken = sum(file.stat().st_size for file in (tmp_path / "step-00000001").iterdir())
    assert taken <= size <= 1.1 * taken


@pytest.mark.parametrize("full_from", [0, 30])
def test_too_little_room_skips_a_checkpoint_with_a_warning_but_never_the_last_one(
    make: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_from: int
) -> None:
    recipe, said = make("train.steps=60"), list[Event]()

    def fill(metric: Metric) -> None:
        if metric.step >= full_from:
            monkeypatch.setattr("core.train.async_checkpoint.free_bytes", lambda _: 1000)

    with pytest.raises(DiskError) as caught:
        train(Trainer(recipe, tokens, tmp_path, CPU), fill, said)
    saved = [20] if full_from else []
    kept = "step 20 is kept" if full_from else "no checkpoint had been saved yet"
    assert [event.step for event in of(CheckpointSaved, said)] == saved
    warnings = [note for note in of(Note, said) if note.level == "warning"]
    assert len(warnings) == 2 - len(saved)
    assert f"no checkpoint at step {40 if full_from else 20}" in warnings[0].text
    assert "too little room" in warnings[0].text and kept in warnings[0].text
    assert kept in caught.value.kept
    monkeypatch.undo()
    finished = Trainer(recipe, tokens, tmp_path, CPU)
    train(finished)
    assert finished.state.finished


def test_a_disk_without_room_for_one_checkpoint_is_told_before_the_first_step(
    make: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.train.async_checkpoint.free_bytes", lambda _: 1000)
    said: list[Event] = []
    with pytest.raises(DiskError, match="1,000 bytes free of"):
        train(Trainer(make("train.steps=30"), tokens, tmp_path, CPU), said=said)
    assert not list(of(Metric, said))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_is_asked_for_before_the_first_step_is_what_a_checkpoint_takes(
    make: Make, tokens: Artifact, tmp_path: Path, optimizer: str
) -> None:
    recipe = make("train.steps=1", "model.n_embd=128", f"train.optimizer={optimizer}")
    trainer = Trainer(recipe, tokens, tmp_path, CPU)
    train(trainer)
    taken = sum(file.stat().st_size for file in (tmp_path / "step-00000001").iterdir())
    assert 0.9 * taken <= sum(checkpoint_bytes(recipe, trainer.vocabulary.size)) <= taken


def train_on_a_filling_disk(tokens: str, recipe: str, directory: str) -> None:
    """Runs in a process of its own: from step 30 until a checkpoint has failed no file can grow beyond 20 kB."""

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    trainer = Trainer(msgspec.json.decode(recipe, type=Recipe), Artifact.open(Path(tokens)), Path(directory), CPU)
    for event in trainer.run():
        match event:
            case Metric(step=30):
                wait_for((Path(directory) / "step-00000020").exists)
                limit(20_000)
            case CheckpointSaved(step=step):
                print(step)
            case Note(level="warning", text=text):
                limit(resource.RLIM_INFINITY)
                print(text)


def test_a_write_that_fails_half_way_is_skipped_and_warned_of_and_leaves_nothing(
    make: Make, tokens: Artifact, tmp_path: Path
) -> None:
    call = "import sys; from tests.core.test_checkpoint import train_on_a_filling_disk as t; t(*sys.argv[1:])"
    recipe = msgspec.json.encode(make("train.steps=60")).decode()
    directory = tmp_path / "run"
    directory.mkdir()
    command = [sys.executable, "-c", call, str(tokens.path), recipe, str(directory)]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert said == ["20", "no checkpoint at step 40: file too large; the checkpoint of step 20 is kept", "60"]
    assert sorted(path.name for path in directory.iterdir()) == ["step-00000020", "step-00000060"]


# -- going on with something changed --------------------------------------------------------------------------------


def test_what_may_change_does_and_is_said(two: Path, make: Make, tokens: Artifact) -> None:
    trainer = Trainer(make("train.steps=50", "train.lr=0.004", "train.grad_clip=0.5"), tokens, two, CPU)
    said = train(trainer)
    assert remarks(said) == [
        "train.steps 40 → 50 from step 30 on",
        "train.lr 0.008 → 0.004 from step 30 on",
        "train.grad_clip 1.0 → 0.5 from step 30 on",
    ]
    assert [metric.step for metric in of(Metric, said)] == list(range(31, 51))
    assert max(metric.lr for metric in of(Metric, said)) < 0.004
    assert not remarks(train(Trainer(trainer.recipe, tokens, two, CPU)))  # the last checkpoint has the new recipe


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.n_layer=2", "model.n_layer 1 → 2"),
        ("model.activation=gelu", "model.activation relu2 → gelu"),
        ("train.seed=9", "train.seed 1 → 9"),
        ("train.optimizer=adamw", "train.optimizer muon → adamw"),
        ("train.batch_size=8", "train.batch_size 4 → 8"),
    ],
)
def test_what_may_not_change_is_named_with_both_values(
    two: Path, make: Make, tokens: Artifact, override: str, told: str
) -> None:
    with pytest.raises(ResumeConflictError) as caught:
        train(Trainer(make("train.steps=50", "train.lr=0.004", override), tokens, two, CPU))
    assert told in caught.value.what
    assert "train.lr" not in caught.value.what
    assert "model.init = run:NAME" in caught.value.todo


def test_of_a_group_of_parameters_the_rate_may_change_and_who_is_in_it_may_not() -> None:
    def why(*groups: Group) -> dict[str, bool]:
        found = recipe_changes(Train(groups=(Group(names="h.*", lr=0.1),)), Train(groups=groups), "train")
        return {str(change): not change.why_not for change in found}

    assert why(Group(names="h.*", lr=0.2)) == {"train.groups[0].lr 0.1 → 0.2": True}
    assert list(why(Group(names="wte.*", lr=0.1)).values()) == [False]
    assert list(why(Group(names="h.*", optimizer="adamw", lr=0.1)).values()) == [False]
    assert list(why().values()) == [False]


def test_what_must_not_change_is_a_field_or_a_section_of_the_recipe() -> None:
    names = {field.key for field in fields()} | {field.section for field in fields()}
    assert set(FIXED) <= names


def test_a_finished_training_goes_on_when_its_end_is_moved(make: Make, tokens: Artifact, tmp_path: Path) -> None:
    train(Trainer(make("train.steps=10"), tokens, tmp_path, CPU))
    said = train(Trainer(make("train.steps=15"), tokens, tmp_path, CPU))
    assert [metric.step for metric in of(Metric, said)] == list(range(11, 16))
    assert Artifact.open(tmp_path / "step-00000015").facts["finished"] == 1


def test_other_text_and_another_vocabulary_are_refused(two: Path, make: Make, place: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "other")
    (corpus / "00.txt").write_text((corpus / "00.txt").read_text().replace("cat", "cow"))
    (corpus / "01.txt").write_text((corpus / "01.txt").read_text() * 2)
    space = Workspace(tmp_path / "home").prepare()
    for override, told in (("tokenize.vocabulary=bytes", "vocabulary"), ("tokenize.size=300", "")):
        recipe = tiny_recipe(corpus, "train.steps=40", override)
        with pytest.raises(ResumeConflictError) as caught:
            train(Trainer(recipe, made(prepare(recipe, space)).tokens, two, CPU))
        assert told in caught.value.what
        assert "bring back the text" in caught.value.todo


def test_the_same_vocabulary_with_other_text_is_refused(two: Path, make: Make, held: Artifact) -> None:
    shard = held.files("train-*.tokens")[0]
    shard.write_bytes(shard.read_bytes()[:-2] + b"\1\0")
    facts = held.manifest.files
    facts[shard.name] = msgspec.structs.replace(facts[shard.name], sha256="0" * 64)
    with pytest.raises(ResumeConflictError) as caught:
        train(Trainer(make("train.steps=40"), held, two, CPU))
    assert "text has changed" in caught.value.what


def test_shards_of_another_layout_are_refused_in_words(make: Make, held: Artifact, tmp_path: Path) -> None:
    shard = held.files("train-*.tokens")[0]
    data = bytearray(shard.read_bytes())
    data[8] = 2  # the layout's version
    shard.write_bytes(bytes(data))
    with pytest.raises(ShardError) as caught:
        Trainer(make(), held, tmp_path, CPU)
    assert "version 2" in caught.value.what
    assert "update" in caught.value.todo


def test_losses_since_the_last_evaluation_outlive_a_stop(make: Make, tokens: Artifact, tmp_path: Path) -> None:
    recipe = make("train.steps=40")
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = train(Trainer(recipe, tokens, tmp_path / "whole", CPU))
    said = train(Trainer(recipe, tokens, tmp_path / "stopped", CPU), stop_at(33))
    said += train(Trainer(recipe, tokens, tmp_path / "stopped", CPU))
    left, right = ([(e.step, e.train_loss, e.loss) for e in of(Evaluation, events)] for events in (whole, said))
    assert left == right
    assert all(loss is not None and math.isfinite(loss) for _, loss, _ in left[1:])
