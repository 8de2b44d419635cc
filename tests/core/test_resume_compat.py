"""Resuming with a changed recipe, text or vocabulary: what may change, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from core.events import Evaluation, Metric
from core.jobs.prepare import prepare
from core.recipe.fields import fields
from core.recipe.schema import Group, Recipe, Train
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.tokenize.shards import ShardError
from core.train.resume_compat import FIXED, ResumeConflictError, recipe_changes
from core.train.trainer import Trainer
from tests.conftest import tiny_recipe, write_corpus
from tests.core.stages import remarks, return_value
from tests.core.training import CPU, of_type, stop_at, train

pytestmark = pytest.mark.heavy

Make = Callable[..., Recipe]


def test_allowed_changes_are_applied_and_noted(copied_pair: Path, make_recipe: Make, tokens: Artifact) -> None:
    trainer = Trainer(make_recipe("train.steps=50", "train.lr=0.004", "train.grad_clip=0.5"), tokens, copied_pair, CPU)
    events = train(trainer)
    assert remarks(events) == [
        "train.steps 40 → 50 from step 30 on",
        "train.lr 0.008 → 0.004 from step 30 on",
        "train.grad_clip 1.0 → 0.5 from step 30 on",
    ]
    assert [metric.step for metric in of_type(Metric, events)] == list(range(31, 51))
    assert max(metric.lr for metric in of_type(Metric, events)) < 0.004
    assert not remarks(
        train(Trainer(trainer.recipe, tokens, copied_pair, CPU))
    )  # the last checkpoint has the new recipe


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.n_layer=2", "model.n_layer 1 → 2"),
        ("model.activation=gelu", "model.activation relu2 → gelu"),
        ("train.seed=9", "train.seed 1 → 9"),
        ("train.optimizer=adamw", "train.optimizer muon → adamw"),
        ("train.batch_size=8", "train.batch_size 4 → 8"),
    ],
)
def test_forbidden_changes_are_named_with_both_values(
    copied_pair: Path, make_recipe: Make, tokens: Artifact, override: str, expected: str
) -> None:
    with pytest.raises(ResumeConflictError) as caught:
        train(Trainer(make_recipe("train.steps=50", "train.lr=0.004", override), tokens, copied_pair, CPU))
    assert expected in caught.value.what
    assert "train.lr" not in caught.value.what
    assert "model.init = run:NAME" in caught.value.todo


def test_a_parameter_group_may_change_its_learning_rate_but_not_its_members() -> None:
    def changes(*groups: Group) -> dict[str, bool]:
        differences = recipe_changes(Train(groups=(Group(names="h.*", lr=0.1),)), Train(groups=groups), "train")
        return {str(change): not change.why_not for change in differences}

    assert changes(Group(names="h.*", lr=0.2)) == {"train.groups[0].lr 0.1 → 0.2": True}
    assert list(changes(Group(names="wte.*", lr=0.1)).values()) == [False]
    assert list(changes(Group(names="h.*", optimizer="adamw", lr=0.1)).values()) == [False]
    assert list(changes().values()) == [False]


def test_every_fixed_name_is_a_field_or_a_section_of_the_recipe() -> None:
    names = {field.key for field in fields()} | {field.section for field in fields()}
    assert set(FIXED) <= names


def test_a_finished_training_continues_with_a_later_limit(make_recipe: Make, tokens: Artifact, tmp_path: Path) -> None:
    train(Trainer(make_recipe("train.steps=10"), tokens, tmp_path, CPU))
    events = train(Trainer(make_recipe("train.steps=15"), tokens, tmp_path, CPU))
    assert [metric.step for metric in of_type(Metric, events)] == list(range(11, 16))
    assert Artifact.open(tmp_path / "step-00000015").facts["finished"] == 1


def test_other_text_and_another_vocabulary_are_refused(
    copied_pair: Path, make_recipe: Make, shared_home: Path, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "other")
    (corpus / "00.txt").write_text((corpus / "00.txt").read_text().replace("cat", "cow"))
    (corpus / "01.txt").write_text((corpus / "01.txt").read_text() * 2)
    space = Workspace(tmp_path / "home").prepare()
    for override, expected in (("tokenize.vocabulary=bytes", "vocabulary"), ("tokenize.size=300", "")):
        recipe = tiny_recipe(corpus, "train.steps=40", override)
        with pytest.raises(ResumeConflictError) as caught:
            train(Trainer(recipe, return_value(prepare(recipe, space)).tokens, copied_pair, CPU))
        assert expected in caught.value.what
        assert "bring back the text" in caught.value.todo


def test_the_same_vocabulary_with_other_text_is_refused(
    copied_pair: Path, make_recipe: Make, private_tokens: Artifact
) -> None:
    shard = private_tokens.files("train-*.tokens")[0]
    shard.write_bytes(shard.read_bytes()[:-2] + b"\1\0")
    facts = private_tokens.manifest.files
    facts[shard.name] = msgspec.structs.replace(facts[shard.name], sha256="0" * 64)
    with pytest.raises(ResumeConflictError) as caught:
        train(Trainer(make_recipe("train.steps=40"), private_tokens, copied_pair, CPU))
    assert "text has changed" in caught.value.what


def test_shards_of_another_format_version_are_refused(
    make_recipe: Make, private_tokens: Artifact, tmp_path: Path
) -> None:
    shard = private_tokens.files("train-*.tokens")[0]
    data = bytearray(shard.read_bytes())
    data[8] = 2  # the version of the format
    shard.write_bytes(bytes(data))
    with pytest.raises(ShardError) as caught:
        Trainer(make_recipe(), private_tokens, tmp_path, CPU)
    assert "version 2" in caught.value.what
    assert "update" in caught.value.todo


def test_losses_since_the_last_evaluation_survive_a_stop(make_recipe: Make, tokens: Artifact, tmp_path: Path) -> None:
    recipe = make_recipe("train.steps=40")
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = train(Trainer(recipe, tokens, tmp_path / "whole", CPU))
    events = train(Trainer(recipe, tokens, tmp_path / "stopped", CPU), stop_at(33))
    events += train(Trainer(recipe, tokens, tmp_path / "stopped", CPU))
    left, right = (
        [(e.step, e.train_loss, e.loss) for e in of_type(Evaluation, run_events)] for run_events in (whole, events)
    )
    assert left == right
    assert all(loss is not None and math.isfinite(loss) for _, loss, _ in left[1:])
