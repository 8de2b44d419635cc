"""Leaks of targets into the inputs of a model: which positions it sees, and its loss against a known entropy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

import core.model.objectives
import core.train.evaluate
from core.download.stories import log2_probability, story
from core.events import Evaluation
from core.model.device import Device
from core.model.gpt import GPT, Block
from core.model.objectives import Examples, diffusion_masking
from core.recipe.file import load
from core.recipe.schema import Model
from core.storage.artifact import Artifact, Staging
from core.tokenize.bpe import train_bpe
from core.tokenize.characters import character_vocabulary
from core.tokenize.shards import dtype_for, write_shard
from core.tokenize.vocabulary import Vocabulary
from core.train.trainer import Trainer

SHAKESPEARE = Path(__file__).parents[3] / "shared" / "data" / "tinyshakespeare.txt"

# --- which logits change with one token ---

VARIANTS = {
    "gpt2": Model(positions="learned", norm="layer", activation="gelu", qk_norm=False, bias=True),
    "modern": Model(),
    "grouped": Model(n_kv_head=1, activation="swiglu"),
}


def random_model(shape: Model, dtype: torch.dtype, objective: str) -> GPT:
    """A model with large random weights, so that every visible token changes the logits."""
    torch.manual_seed(1)
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 80, "zero_init": False, "objective": objective}
    model = GPT(msgspec.structs.replace(shape, **sizes), 50, dtype=dtype).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("shape", VARIANTS.values(), ids=VARIANTS)
@torch.inference_mode()
def test_a_causal_model_does_not_see_the_token_it_is_asked_for(shape: Model, dtype: torch.dtype) -> None:
    model, ids = random_model(shape, dtype, "causal"), torch.randint(50, (2, 80))
    before = model(ids)
    for position in (1, 2, 15, 16, 31, 32, 63, 64, 79):
        changed = ids.clone()
        changed[:, position] = (changed[:, position] + 1) % 50
        after = model(changed)
        assert torch.equal(before[:, :position], after[:, :position])
        differs = (before[:, position:] != after[:, position:]).any(-1)
        assert bool(differs.all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("shape", VARIANTS.values(), ids=VARIANTS)
@torch.inference_mode()
def test_a_masked_model_sees_both_sides_of_masked_tokens(shape: Model, dtype: torch.dtype) -> None:
    model, ids = random_model(shape, dtype, "masked"), torch.randint(50, (2, 80))
    ids[:, 40:44] = 50
    before = model(ids)
    for position in (0, 39, 44, 79):
        changed = ids.clone()
        changed[:, position] = (changed[:, position] + 1) % 50
        differs = (before != model(changed)).any(-1)
        assert bool(differs.all())


@torch.inference_mode()
def test_a_masked_token_is_predicted_at_the_position_before_it_and_the_first_at_the_last() -> None:
    torch.manual_seed(1)
    model = GPT(Model(objective="masked", n_layer=1, n_head=2, n_embd=32, block_size=8), 50)
    torch.nn.init.normal_(model.lm_head.weight)  # the output projections of the blocks start at zero
    masked = torch.full((1, 8), 50)
    for position in range(8):
        ids = masked.clone()
        ids[0, position] = 7
        differs = (model(ids) != model(masked)).any(-1)[0]
        assert differs.nonzero().flatten().tolist() == [(position + 1) % 8]


# --- a corpus of known entropy: a loss below it needs a leak ---


def artifact(path: Path, vocabulary: Vocabulary, train: Iterable[str], validation: Iterable[str]) -> Artifact:
    """Token shards of two lists of documents; an end-of-text token comes first, so that every token is predicted."""
    with Staging(path, "tokens", "0").open() as out:
        out.publish("vocabulary.json", vocabulary.save)
        for name, texts in (("train", train), ("validation", validation)):
            ids = [vocabulary.end_of_text]
            for text in texts:
                ids += [*vocabulary.encode(text), vocabulary.end_of_text]
            tokens = np.array(ids, dtype_for(vocabulary.size))
            out.publish(f"{name}-0.tokens", partial(write_shard, pieces=[tokens]))
        return out.finish({})


def evaluations(
    tmp_path: Path, tokens: Artifact, *overrides: str, alter: Callable[[Trainer], None] | None = None
) -> list[Evaluation]:
    """The evaluations of a training, each over all of the held-out text."""
    fixed = ("train.evaluate_tokens=8_000", "train.sample_every=1000", "train.checkpoint_every=1000")
    recipe = load(base={"name": "leak"}, overrides=(*fixed, "train.device=cpu", *overrides))
    directory = tmp_path / "checkpoints"
    directory.mkdir()
    trainer = Trainer(recipe, tokens, directory, Device(name="cpu", dtype=torch.float32, description=""))
    if alter is not None:
        alter(trainer)
    return [event for event in trainer.run() if isinstance(event, Evaluation)]


HELD_OUT = [story(2, number) for number in range(10)]
ENTROPY = -sum(map(log2_probability, HELD_OUT)) / sum(map(len, HELD_OUT))
"""Bits a byte of these very stories. A model that knows nothing of them undercuts it by k bits in all with a
probability of at most 2^-k, since what it promises for all texts adds up to at most 1."""


def stories_tokens(tmp_path: Path, size: int = 2048) -> Artifact:
    """1,500 other stories to learn from, in a vocabulary of this size."""
    train = [story(1, number) for number in range(1500)]
    return artifact(tmp_path / "tokens", train_bpe(iter(train[:300]), size), train, HELD_OUT)


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return stories_tokens(tmp_path_factory.mktemp("stories"))


SMALL = ("model.n_layer=2", "model.n_head=2", "model.n_embd=64", "model.block_size=128", "train.batch_size=4")
LARGE = ("model.n_layer=2", "model.n_head=2", "model.n_embd=128", "model.block_size=256", "train.batch_size=8")


def remove_causal_mask(trainer: Trainer) -> None:
    """Let a causal model attend to all tokens, including its targets."""
    for block in trainer.model.h:
        assert isinstance(block, Block)
        block.attn.causal = False


@pytest.mark.heavy
def test_on_stories_the_loss_approaches_the_entropy_and_stays_above_it(tmp_path: Path, stories: Artifact) -> None:
    results = evaluations(tmp_path, stories, *SMALL, "train.steps=200", "train.evaluate_every=40")
    assert len(results) >= 6
    assert all(each.bits_per_byte > ENTROPY for each in results)
    assert results[0].bits_per_byte > 10 * ENTROPY
    assert results[-1].bits_per_byte < 3.5 * ENTROPY


@pytest.mark.heavy
def test_a_model_that_sees_its_targets_falls_below_the_entropy(tmp_path: Path, stories: Artifact) -> None:
    short = ("model.block_size=64", "train.steps=300", "train.evaluate_every=300")
    results = evaluations(tmp_path, stories, *SMALL, *short, alter=remove_causal_mask)
    assert results[-1].bits_per_byte < ENTROPY


@pytest.mark.slow
def test_on_stories_a_longer_training_comes_closer_to_the_entropy_and_stays_above_it(
    tmp_path: Path, stories: Artifact
) -> None:
    results = evaluations(tmp_path, stories, *LARGE, "train.steps=200", "train.evaluate_every=25")
    assert all(each.bits_per_byte > ENTROPY for each in results)
    assert results[-1].bits_per_byte < 1.9 * ENTROPY


MASKED = (
    *("model.objective=masked", "model.block_size=64", "train.batch_size=16"),
    *("train.steps=200", "train.evaluate_every=50"),
)


@pytest.mark.slow
def test_on_stories_the_bound_of_a_masked_model_stays_above_the_entropy(tmp_path: Path) -> None:
    results = evaluations(tmp_path, stories_tokens(tmp_path, 1024), *SMALL, *MASKED)
    assert all(each.bound and each.bits_per_byte > ENTROPY for each in results)
    assert results[-1].bits_per_byte < 0.9 * results[0].bits_per_byte


@pytest.mark.slow
def test_a_masked_model_without_masked_inputs_falls_below_the_entropy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_masks(windows: Tensor, mask: int, *, seed: int, step: int, indices: Sequence[int]) -> Examples:
        masked = diffusion_masking(windows, mask, seed=seed, step=step, indices=indices)
        return msgspec.structs.replace(masked, ids=windows[:, 1:])

    for module in (core.model.objectives, core.train.evaluate):
        monkeypatch.setattr(module, "diffusion_masking", without_masks)
    # the target is one position later, where attention first has to learn to find it
    results = evaluations(tmp_path, stories_tokens(tmp_path, 1024), *SMALL, *MASKED, "train.steps=800")
    assert results[-1].bits_per_byte < ENTROPY


# --- a masked model learns ---


@pytest.mark.heavy
@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="tiny Shakespeare is not here")
def test_on_tiny_shakespeare_the_loss_of_masked_characters_is_below_the_unigram_entropy(tmp_path: Path) -> None:
    text = SHAKESPEARE.read_text()
    train, held_out = text[: len(text) * 9 // 10], text[-8_000:]
    vocabulary = character_vocabulary(sorted(set(text)))
    counts = np.bincount(vocabulary.encode(train))
    shares = counts[counts > 0] / counts.sum()
    unigram = float(-(shares * np.log(shares)).sum())
    assert unigram == pytest.approx(3.31, abs=0.02)
    tokens = artifact(tmp_path / "tokens", vocabulary, [train], [held_out])
    results = evaluations(tmp_path, tokens, *SMALL, *MASKED, "train.steps=80")
    assert results[-1].bound
    assert results[-1].loss < unigram
    assert results[-1].loss > math.log(2)
