"""What a step is trained on, shown afterwards: the trainer's own examples and, with its weights, its own loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.checkpoints import nearest_checkpoint, readable_checkpoints
from core.errors import LlmtuiError
from core.events import Metric
from core.model.batches import Batches
from core.model.loss import Loss
from core.model.objectives import Objective
from core.model.weights import load_model
from core.recipe.schema import Recipe
from core.sample.inspect.text_tokens import open_vocabulary, tokenize_text
from core.sample.inspect.training_batch import BatchModelError, TrainingExamples
from core.sample.token_protocol import NO_TARGET, BatchSource, TrainingBatch
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import Vocabulary
from core.train.trainer import Trainer
from core.vocab.protocol import VocabularyChoice
from tests.core.conftest import Make
from tests.core.training import CPU, OBJECTIVES, of_type, stop_at, train

pytestmark = pytest.mark.heavy


def source(recipe: Recipe, tokens: Artifact, step: int) -> BatchSource:
    return BatchSource(tokens=str(tokens.path), model=recipe.model, train=recipe.train, step=step)


def fed_to_the_model(trainer: Trainer, last: int) -> tuple[list[list[tuple[Tensor, Tensor]]], list[Metric]]:
    """Run the trainer up to step `last`; ids and targets of each micro-batch of each step, and the metrics."""
    passes: list[tuple[Tensor, Tensor]] = []
    steps: list[list[tuple[Tensor, Tensor]]] = []
    real = trainer.model.loss

    def recording(ids: Tensor, targets: Tensor, **rest: Any) -> Loss:
        if torch.is_grad_enabled():  # not an evaluation
            passes.append((ids, targets))
        return real(ids, targets, **rest)

    trainer.model.loss = recording  # type: ignore[method-assign]

    def on_step(metric: Metric) -> Any:
        # before the first step, the speed is measured
        steps.append(passes[-math.ceil(trainer.recipe.train.batch_size / (trainer.recipe.train.micro_batch or 99)) :])
        passes[:] = []
        return stop_at(last)(metric)

    return steps, list(of_type(Metric, train(trainer, on_step)))


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_the_rows_are_what_the_trainer_feeds_the_model_also_after_resuming_with_other_micro_batches(
    make_recipe: Make, tokens: Artifact, tmp_path: Path, objective: tuple[str, ...]
) -> None:
    recipe = make_recipe("train.steps=6", "train.micro_batch=3", "train.batch_size=8", *objective)
    steps, _ = fed_to_the_model(Trainer(recipe, tokens, tmp_path, CPU), 3)
    recipe = make_recipe("train.steps=6", "train.micro_batch=2", "train.batch_size=8", *objective)
    more, _ = fed_to_the_model(Trainer(recipe, tokens, tmp_path, CPU), 6)
    assert [len(step) for step in steps + more] == [3, 3, 3, 4, 4, 4]
    for number, passes in enumerate(steps + more, 1):
        shown = TrainingExamples(source(recipe, tokens, number)).describe()
        assert [list(row.inputs) for row in shown.rows] == torch.cat([ids for ids, _ in passes]).tolist()
        assert [list(row.targets) for row in shown.rows] == torch.cat([targets for _, targets in passes]).tolist()


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_several_processes_share_the_rows_in_turn(
    make_recipe: Make, tokens: Artifact, objective: tuple[str, ...]
) -> None:
    recipe = make_recipe("train.batch_size=7", *objective)
    shown = TrainingExamples(source(recipe, tokens, 12))
    stream, train_recipe = TokenStream(tokens.files("train-*.tokens")), recipe.train
    mask = None if recipe.model.objective == "causal" else Vocabulary.load(tokens.path / "vocabulary.json").size
    for world in (2, 3):
        count = 0
        for rank in range(world):  # as `core.train.step_runner` does
            batches = Batches(stream, block_size=32, batch_size=7, seed=train_recipe.seed, rank=rank, world=world)
            indices = range(rank, 7, world)
            share = Objective(train_recipe, mask_token_id=mask)(batches(11), step=11, indices=indices)
            assert torch.equal(share.ids, shown.examples.ids[rank::world])
            assert torch.equal(share.targets, shown.examples.targets[rank::world])
            count += share.count
        assert count == shown.examples.count


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_the_losses_of_the_tokens_make_the_loss_that_the_step_had(
    make_recipe: Make, tokens: Artifact, tmp_path: Path, objective: tuple[str, ...]
) -> None:
    recipe = make_recipe("train.steps=9", "train.batch_size=5", "model.dropout=0.0", *objective)
    train(Trainer(recipe, tokens, tmp_path, CPU), stop_at(7))
    _, metrics = fed_to_the_model(Trainer(recipe, tokens, tmp_path, CPU), 8)
    checkpoint = nearest_checkpoint([c for c in readable_checkpoints(tmp_path) if c.facts["step"] == 7], 8)
    assert checkpoint is not None and metrics[0].step == 8
    examples = TrainingExamples(source(recipe, tokens, 8))
    model, batch = load_model(checkpoint.path), examples.describe()
    examples.check_model(model)
    losses = list(examples.losses(model))
    assert [part.row for part in losses] == list(range(5))
    for row, part in zip(batch.rows, losses, strict=True):
        assert [nats is None for nats in part.nats] == [target == NO_TARGET for target in row.targets]
    total = math.fsum(
        row.weight * math.fsum(nats for nats in part.nats if nats is not None)
        for row, part in zip(batch.rows, losses, strict=True)
    )
    assert total / batch.count == pytest.approx(metrics[0].loss, abs=1e-4)


def test_a_checkpoint_of_another_objective_or_vocabulary_is_refused(
    make_recipe: Make, tokens: Artifact, saved_pair: Path
) -> None:
    model = load_model(readable_checkpoints(saved_pair)[0].path)
    other = TrainingExamples(source(make_recipe("model.objective=masked"), tokens, 1))
    with pytest.raises(BatchModelError):
        other.check_model(model)


def test_the_nearest_checkpoint_is_the_newest_one_before_the_step(saved_pair: Path) -> None:
    def nearest(step: int) -> object:
        found = nearest_checkpoint(readable_checkpoints(saved_pair), step)
        return found and found.facts["step"]

    # step 21 starts from the weights after step 20; step 20 changed them
    assert [nearest(step) for step in (1, 20, 21, 30, 31, 99)] == [20, 20, 20, 20, 30, 30]
    assert nearest_checkpoint([], 5) is None


def test_epoch_and_table_of_tokens(make_recipe: Make, tokens: Artifact) -> None:
    def read(step: int) -> TrainingBatch:
        return TrainingExamples(source(make_recipe(), tokens, step)).describe()

    vocabulary = Vocabulary.load(tokens.path / "vocabulary.json")
    windows = (len(TokenStream(tokens.files("train-*.tokens"))) - 1) // 32 - 1
    assert [read(step).epoch for step in (1, windows // 4 + 2)] == [1, 2]
    batch = read(3)
    known = {token.id: bytes.fromhex(token.bytes) for token in batch.tokens}
    row = batch.rows[0]
    stream = TokenStream(tokens.files("train-*.tokens"))
    window = stream.window(row.start, 33).tolist()
    assert [row.inputs[0], *row.targets] == window
    assert b"".join(known[token] for token in window) == vocabulary.decode_bytes(window)


def test_the_tokens_of_a_text_under_a_file_and_under_the_byte_vocabulary(
    tokens: Artifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "the größe\u200b <|endoftext|>\ud800"
    found = tokenize_text(open_vocabulary(VocabularyChoice(name="bytes")), text)
    written = text.replace("\ud800", "\ufffd").encode()
    assert (bytes(found.ids), found.bytes, found.entries) == (written, len(written), 257)
    own = VocabularyChoice(name="tiny", file=str(tokens.path / "vocabulary.json"))
    found = tokenize_text(open_vocabulary(own), text)
    content = {token.id: bytes.fromhex(token.bytes) for token in found.tokens}
    assert b"".join(content[token] for token in found.ids) == written


def test_a_deleted_vocabulary_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(LlmtuiError, match="the vocabulary is no longer on this machine"):
        open_vocabulary(VocabularyChoice(name="demo", file=str(tmp_path / "vocabulary.json")))


def test_deleted_tokens_are_named_as_such(make_recipe: Make, tmp_path: Path) -> None:
    recipe = make_recipe()
    source = BatchSource(tokens=str(tmp_path / "gone"), model=recipe.model, train=recipe.train, step=1)
    with pytest.raises(LlmtuiError, match="its tokens are no longer on this machine"):
        TrainingExamples(source)


@pytest.mark.parametrize("choice", [VocabularyChoice(name="o200k_base"), VocabularyChoice(name="x", file="/nowhere")])
def test_a_vocabulary_that_is_not_on_the_machine_is_not_fetched(
    choice: VocabularyChoice, monkeypatch: pytest.MonkeyPatch, workspace: Workspace, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))
    with pytest.raises(LlmtuiError, match=r"not on this machine|no longer on this machine"):
        open_vocabulary(choice)
