"""Training objectives: masks from (seed, step, index), BERT's masking, and the variational bound."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.loss import IGNORE
from core.model.objectives import Examples, Objective, diffusion_masking
from core.recipe.schema import Model, Train
from core.tokenize.shards import TokenStream, write_shard
from core.train.evaluate import evaluate_loss

MASK = 50
KINDS = [Train(mask="drawn", seed=7), Train(mask="fixed", seed=7)]


def windows(count: int, length: int = 40) -> Tensor:
    return torch.randint(MASK, (count, length + 1), generator=torch.Generator().manual_seed(3))


def is_target(examples: Examples) -> Tensor:
    return examples.targets != IGNORE


def same(left: Examples, right: Examples, rows: Sequence[int]) -> bool:
    """Whether `right` has the rows of `left` in this order."""
    weights = left.weights is None or right.weights is None or torch.equal(left.weights[rows], right.weights)
    return torch.equal(left.ids[rows], right.ids) and torch.equal(left.targets[rows], right.targets) and weights


def test_a_causal_model_predicts_every_token_from_those_before_it() -> None:
    text = windows(3)
    examples = Objective(Train(), mask_token_id=None)(text, step=0, indices=range(3))
    assert torch.equal(examples.ids, text[:, :-1])
    assert torch.equal(examples.targets, text[:, 1:])
    assert (examples.weights, examples.count) == (None, 3 * 40)


@pytest.mark.parametrize("recipe", KINDS, ids=["drawn", "fixed"])
def test_masks_do_not_depend_on_micro_batches_or_ranks(recipe: Train) -> None:
    text, objective = windows(12), Objective(recipe, mask_token_id=MASK)
    whole = objective(text, step=5, indices=range(12))
    for world in (2, 3, 12):
        for rank in range(world):
            mine = range(rank, 12, world)
            assert same(whole, objective(text[mine], step=5, indices=mine), mine)
    micro_batches = list(whole.micro_batches(5, torch.device("cpu")))
    assert [len(ids) for ids, _, _ in micro_batches] == [5, 5, 2]
    assert torch.equal(torch.cat([targets for _, targets, _ in micro_batches]), whole.targets)
    assert not torch.equal(is_target(whole), is_target(objective(text, step=6, indices=range(12))))
    other = Objective(Train(mask=recipe.mask, seed=8), mask_token_id=MASK)
    assert not torch.equal(is_target(whole), is_target(other(text, step=5, indices=range(12))))


@pytest.mark.parametrize("recipe", KINDS, ids=["drawn", "fixed"])
def test_masked_targets_are_among_the_causal_targets(recipe: Train) -> None:
    text = windows(8)
    examples = Objective(recipe, mask_token_id=MASK)(text, step=1, indices=range(8))
    targets, tokens = is_target(examples), text[:, 1:]
    assert torch.equal(examples.targets[targets], tokens[targets])
    assert torch.equal(examples.ids[~targets], tokens[~targets])
    assert bool(targets.any(1).all())
    assert int(examples.ids.max()) == MASK


def test_bert_masking_has_shares_of_80_10_and_10() -> None:
    text = windows(4000)
    examples = Objective(Train(mask="fixed", mask_ratio=0.15), mask_token_id=MASK)(text, step=0, indices=range(4000))
    targets, tokens = is_target(examples), text[:, 1:]
    assert targets.sum(1).tolist() == [6] * 4000  # 15 % of 40
    assert examples.count == 6 * 4000
    ids, truth = examples.ids[targets], tokens[targets]
    masked, unchanged = ids == MASK, ids == truth
    # a random token equals the original with probability 1 / MASK
    expected = {"masked": 0.8, "unchanged": 0.1 + 0.1 / MASK, "replaced": 0.1 - 0.1 / MASK}
    shares = {"masked": masked, "unchanged": unchanged, "replaced": ~masked & ~unchanged}
    for name, share in expected.items():
        assert shares[name].float().mean().item() == pytest.approx(share, abs=4 * math.sqrt(share / len(ids))), name
    counts = torch.bincount(ids[shares["replaced"]], minlength=MASK).double()
    assert counts.shape == (MASK,)
    assert ((counts - counts.mean()).square() / counts.mean()).sum() < 100  # chi squared, 49 degrees: 1 in 30,000
    by_position = targets.sum(0).double()
    assert ((by_position - 600).abs() < 5 * math.sqrt(600)).all()


def test_the_smallest_mask_ratio_has_one_target() -> None:
    objective = Objective(Train(mask="fixed", mask_ratio=1e-6), mask_token_id=MASK)
    examples = objective(windows(9, 3), step=0, indices=range(9))
    assert is_target(examples).sum(1).tolist() == [1] * 9


def test_mask_counts_and_subsets_are_uniform() -> None:
    examples = diffusion_masking(windows(48_000, 4), MASK, seed=1, step=0, indices=range(48_000))
    masked = is_target(examples)
    assert masked.sum(1).bincount(minlength=5).tolist() == pytest.approx([0, 12_000, 12_000, 12_000, 12_000], abs=5)
    sets = Counter(map(tuple, masked.tolist()))
    assert len(sets) == 15
    for subset, count in sets.items():
        mean = 12_000 / math.comb(4, sum(subset))
        assert abs(count - mean) < 5 * math.sqrt(mean)
    assert examples.weights is not None
    assert torch.equal(examples.weights[:, 0] * masked.sum(1), torch.full((48_000,), 4.0))


@pytest.mark.heavy
def test_mask_counts_are_uniform_over_steps_and_spread_within_each() -> None:
    numbers = []
    for step in range(2000):
        masked = is_target(diffusion_masking(windows(8), MASK, seed=1, step=step, indices=range(8))).sum(1)
        numbers += masked.tolist()
        ordered = sorted(masked.tolist())
        gaps = [after - before for before, after in zip(ordered, [*ordered[1:], ordered[0] + 40], strict=True)]
        assert max(gaps) <= 10  # 5 if evenly spaced; 8 independent samples have a gap of more than 10 in 9 of 10 steps
    counts = np.bincount(numbers, minlength=41)[1:]
    assert (abs(counts - 400) < 5 * math.sqrt(400)).all()


# --- the bound, by enumeration of all masks: 3 tokens, sequences of 4 ---

VOCABULARY, LENGTH = 3, 4


def confident_model() -> GPT:
    """A masked model with uneven probabilities that depend on all visible tokens."""
    torch.manual_seed(1)
    shape = Model(objective="masked", n_layer=1, n_head=2, n_embd=16, block_size=LENGTH, zero_init=False)
    model = GPT(shape, VOCABULARY).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def subsets() -> Iterator[tuple[int, ...]]:
    for size in range(1, LENGTH + 1):
        yield from itertools.combinations(range(LENGTH), size)


@torch.inference_mode()
def any_order(model: GPT, text: Sequence[int]) -> tuple[float, float]:
    """For `text` unmasked in uniformly random order: its probability, and the mean over orders of its cost in nats."""
    masks = list(subsets())
    ids = torch.tensor(
        [[VOCABULARY if position in masked else text[position] for position in range(LENGTH)] for masked in masks]
    )
    costs = -torch.log_softmax(model(ids).double(), -1)
    probability: dict[tuple[int, ...], float] = {(): 1.0}
    mean: dict[tuple[int, ...], float] = {(): 0.0}
    for masked, cost in zip(masks, costs, strict=True):
        each = [
            (float(cost[position, text[position]]), tuple(other for other in masked if other != position))
            for position in masked
        ]
        probability[masked] = sum(math.exp(-nats) * probability[rest] for nats, rest in each) / len(each)
        mean[masked] = sum(nats + mean[rest] for nats, rest in each) / len(each)
    return probability[masks[-1]], mean[masks[-1]]


@pytest.mark.heavy
@torch.inference_mode()
def test_the_expected_loss_is_the_variational_bound() -> None:
    model, text, samples = confident_model(), [2, 0, 1, 1], 20_000
    ids = torch.tensor([[0, *text]]).expand(samples, -1)
    examples = diffusion_masking(ids, VOCABULARY, seed=1, step=0, indices=range(samples))
    assert examples.weights is not None
    log_probabilities = torch.log_softmax(model(examples.ids).double(), -1)
    cost = -log_probabilities.gather(-1, ids[:, 1:, None])[..., 0] * is_target(examples) * examples.weights
    each = cost.sum(1)
    _, bound = any_order(model, text)
    error = each.std().item() / math.sqrt(samples)
    assert error < 0.01 * bound
    assert each.mean().item() == pytest.approx(bound, abs=4 * error)
    loss = model.loss(examples.ids, examples.targets, weights=examples.weights)
    assert loss.nats.item() / examples.count == pytest.approx(each.mean().item() / LENGTH, rel=1e-4)


def test_the_bound_is_an_upper_bound_of_the_negative_log_likelihood() -> None:
    model = confident_model()
    exact = [any_order(model, text) for text in itertools.product(range(VOCABULARY), repeat=LENGTH)]
    assert sum(probability for probability, _ in exact) == pytest.approx(1, abs=1e-5)
    assert all(bound >= -math.log(probability) for probability, bound in exact)
    assert 0.1 < sum(math.exp(-bound) for _, bound in exact) < 1


# --- evaluation ---


def stream(path: Path, count: int) -> TokenStream:
    ids = np.random.default_rng(1).integers(0, MASK, count).astype(np.uint16)
    write_shard(path, [ids])
    return TokenStream([path])


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_a_uniform_model_has_a_loss_of_log_vocab_size(tmp_path: Path, objective: str) -> None:
    tokens, lengths = stream(tmp_path / "x.tokens", 1000), torch.arange(MASK)
    model = GPT(Model(objective=objective, n_layer=1, n_head=2, n_embd=16, block_size=32), MASK)  # type: ignore[arg-type]
    losses = evaluate_loss(model, tokens, lengths, batch_size=5, limit=10**6)
    assert losses.loss == pytest.approx(math.log(MASK), rel=1e-5)  # its head is zero: every target has the same loss
    assert (losses.tokens, losses.bytes) == (999, int(tokens.window(1, 999).sum()))
    assert losses.bound == (objective == "masked")
    assert model.training


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_an_evaluation_does_not_depend_on_the_batch_size(tmp_path: Path, objective: str) -> None:
    torch.manual_seed(1)
    tokens, lengths = stream(tmp_path / "x.tokens", 1000), torch.ones(MASK, dtype=torch.int64)
    shape = Model(objective=objective, n_layer=1, n_head=2, n_embd=16, block_size=32, zero_init=False, dropout=0.5)  # type: ignore[arg-type]
    model = GPT(shape, MASK)
    losses = [evaluate_loss(model, tokens, lengths, batch_size=size, limit=700) for size in (1, 5, 5, 100)]
    assert losses[1] == losses[2]
    assert [one.tokens for one in losses] == [700] * 4
    assert [one.nats for one in losses] == pytest.approx([losses[0].nats] * 4, rel=1e-5)


def test_evaluation_windows_are_spread_over_the_text(tmp_path: Path) -> None:
    path = tmp_path / "x.tokens"
    write_shard(path, [np.arange(1000, dtype=np.uint16)])
    model = GPT(Model(n_layer=1, n_head=2, n_embd=16, block_size=32), 1000)
    # the bytes show which tokens were evaluated: 3 windows, at the beginning, in the middle, at the end
    losses = evaluate_loss(model, TokenStream([path]), torch.arange(1000), batch_size=2, limit=96)
    expected = sum(sum(range(start + 1, start + 33)) for start in (0, 483, 967))
    assert (losses.tokens, losses.bytes) == (96, expected)
