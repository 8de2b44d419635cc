"""One step: gradients independent of the micro-batch, clipping, and retries when memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pytest
import torch
from torch import Tensor, nn

from core.model.gpt import GPT
from core.model.loss import IGNORE, Loss
from core.model.objectives import Examples, Objective, next_token
from core.recipe.schema import Model, Train
from core.train.data_parallel import DataParallel
from core.train.optimizer import optimizers
from core.train.step import accumulate_gradients, accumulate_within_memory, optimizer_step, reduce_gradients

SMALL = Model(n_layer=2, n_head=2, n_embd=32, block_size=16, zero_init=False)
GPT2: dict[str, Any] = {"positions": "learned", "norm": "layer", "activation": "gelu", "bias": True}
PLAIN: dict[str, Any] = {"qk_norm": False, "zero_init": False}


def windows(size: int = 8, vocabulary: int = 50, length: int = 16) -> Tensor:
    return torch.randint(vocabulary, (size, length + 1), generator=torch.Generator().manual_seed(1))


def batch(size: int = 8, vocabulary: int = 50, length: int = 16) -> Examples:
    return next_token(windows(size, vocabulary, length))


def gradients(model: GPT) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def mean_loss_gradients(
    model: GPT, learned: Examples, micro_batch: int, recipe: Train
) -> tuple[float, dict[str, Tensor]]:
    """The mean loss and its gradients, accumulated over micro-batches."""
    model.zero_grad()
    parallel = DataParallel(model)
    sums = reduce_gradients(parallel, accumulate_gradients(parallel, learned, micro_batch, recipe), learned.count)
    return sums.loss, {name: gradient / sums.positions for name, gradient in gradients(model).items()}


def uneven() -> Examples:
    """Sequences with no target, with one, and with two in three; random weights."""
    plain = batch(32)
    targets = plain.targets.clone()
    targets[:8] = IGNORE
    targets[8, 1:] = IGNORE
    targets[20:, ::3] = IGNORE
    return Examples(plain.ids, targets, torch.rand(32, 16) * 2, int((targets != IGNORE).sum()))


def masked(kind: Literal["drawn", "fixed"]) -> Examples:
    return Objective(Train(mask=kind), mask_token_id=50)(windows(32), step=0, indices=range(32))


# B8 of the reference: accumulating 1 x 32 and 4 x 8 sequences gives gradients equal to 1e-6
@pytest.mark.heavy
@pytest.mark.parametrize("recipe", [Train(), Train(label_smoothing=0.1, z_loss=1e-3)], ids=["plain", "smoothed"])
@pytest.mark.parametrize(
    ("objective", "examples"),
    [
        ("causal", lambda: batch(32)),
        ("causal", uneven),
        ("masked", lambda: masked("drawn")),
        ("masked", lambda: masked("fixed")),
    ],
    ids=["causal", "uneven", "masked", "masked as BERT"],
)
def test_gradients_do_not_depend_on_the_micro_batch_even_with_uneven_targets(
    objective: Literal["causal", "masked"], examples: Callable[[], Examples], recipe: Train
) -> None:
    torch.manual_seed(1)
    model, learned = GPT(msgspec.structs.replace(SMALL, objective=objective), 50), examples()
    loss, whole = mean_loss_gradients(model, learned, 32, recipe)
    assert max(float(gradient.abs().max()) for gradient in whole.values()) > 0.01
    for micro_batch in (8, 7, 1):
        other, pieces = mean_loss_gradients(model, learned, micro_batch, recipe)
        assert other == pytest.approx(loss, abs=1e-6)
        for name in whole:
            torch.testing.assert_close(pieces[name], whole[name], rtol=0, atol=1e-6)


@pytest.mark.heavy
def test_loss_and_gradient_are_those_of_the_mean_over_all_targets() -> None:
    torch.manual_seed(1)
    model = GPT(SMALL, 50)
    learned = batch()
    loss, computed = mean_loss_gradients(model, learned, 3, Train())
    model.zero_grad()
    expected = nn.functional.cross_entropy(model(learned.ids).flatten(0, 1), learned.targets.flatten())
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-6)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(computed[name], gradient, rtol=0, atol=1e-6)


@pytest.mark.parametrize("clip", [0.0, 0.1, 100.0])
def test_gradients_are_clipped_as_torch_clips_them(clip: float) -> None:
    torch.manual_seed(1)
    model = GPT(SMALL, 50)
    learned = batch()
    _, mean = mean_loss_gradients(model, learned, 8, Train())
    sums = reduce_gradients(DataParallel(model), torch.zeros(()), learned.count)
    seen: dict[str, Tensor] = {}

    class RecordingSGD(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            seen.update(gradients(model))

    optimizer_step(DataParallel(model), [RecordingSGD(model.parameters(), lr=0)], sums, clip)
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in mean.values()]
    for parameter, gradient in zip(parameters, mean.values(), strict=True):
        parameter.grad = gradient
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip or math.inf)
    assert sums.grad_norm == pytest.approx(float(norm), rel=1e-6)
    for name, parameter in zip(mean, parameters, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(seen[name], parameter.grad, rtol=1e-5, atol=1e-8)
    assert all(parameter.grad is None for parameter in model.parameters())


# B6 of the reference: any preset overfits one batch
@pytest.mark.heavy
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    "variant",
    [
        {},
        {**GPT2, **PLAIN, "qkv_bias": False},
        {**GPT2, **PLAIN, "tie_embeddings": True},
        {"activation": "swiglu", "n_kv_head": 2, "pad_vocabulary_multiple": 64},
    ],
    ids=["modern", "book", "gpt2", "swiglu"],
)
def test_every_kind_of_model_overfits_one_batch(variant: dict[str, Any], optimizer: Any) -> None:
    torch.manual_seed(1)
    model = GPT(Model(n_layer=2, n_head=4, n_embd=64, block_size=32, **variant), 65)
    recipe = Train(optimizer=optimizer, lr=3e-3)
    learned, made = batch(4, 65, 32), optimizers(model, recipe)
    loss, parallel = math.inf, DataParallel(model)
    for _ in range(200):
        sums = reduce_gradients(parallel, accumulate_gradients(parallel, learned, 4, recipe), learned.count)
        optimizer_step(parallel, made, sums, recipe.grad_clip)
        loss = sums.loss
        if loss < 0.1:
            break
    assert loss < 0.1


def test_out_of_memory_repeats_the_step_in_halves_with_the_same_random_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(1)
    model = GPT(Model(n_layer=1, n_head=2, n_embd=32, block_size=16, dropout=0.2), 50)
    learned, real = batch(8), model.loss
    before = torch.get_rng_state()
    nats = accumulate_gradients(DataParallel(model), learned, 2, Train())
    expected = gradients(model)
    model.zero_grad()

    def short(ids: Tensor, *rest: Any, **more: Any) -> Loss:
        made = real(ids, *rest, **more)
        if len(ids) > 2:
            if short.calls:  # type: ignore[attr-defined]
                raise torch.OutOfMemoryError
            short.calls += 1  # type: ignore[attr-defined]
        return made

    short.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(model, "loss", short)
    torch.set_rng_state(before)
    again, fits = accumulate_within_memory(
        DataParallel(model), learned, 4, Train()
    )  # the first piece of four still fits
    assert fits == 2
    assert torch.equal(again, nats)
    for name, gradient in gradients(model).items():
        assert torch.equal(gradient, expected[name])
