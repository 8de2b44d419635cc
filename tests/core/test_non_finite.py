"""Losses and gradients that are not finite: the diagnosis, and the step back to a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.events import Event, Metric, Resumed
from core.model.gpt import GPT
from core.model.objectives import next_token
from core.recipe.schema import Model, Recipe, Train
from core.storage.artifact import Artifact
from core.train.commands import Stop
from core.train.data_parallel import DataParallel
from core.train.non_finite import NonFiniteError, diagnose
from core.train.step import accumulate_gradients
from core.train.trainer import Trainer
from tests.core.stages import note_texts
from tests.core.training import CPU, of_type, train

pytestmark = pytest.mark.heavy

Make = Callable[..., Recipe]


def poison(trainer: Trainer, step: int) -> Callable[[Metric], None]:
    """Returns a callback that sets one weight to NaN after `step`, each time it is reached."""

    def on_step(metric: Metric) -> None:
        if metric.step == step:
            block: Any = trainer.model.h[0]
            with torch.no_grad():
                block.mlp.c_fc.weight[0, 0] = torch.nan

    return on_step


def test_a_non_finite_loss_stops_training_before_the_weights_change(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    trainer = Trainer(tiny("train.steps=40"), tokens, tmp_path, CPU)
    with pytest.raises(NonFiniteError) as caught:
        train(trainer, poison(trainer, 25))
    assert "step 26, first in the weights h.0.mlp.c_fc.weight" in caught.value.what
    assert "step 20" in caught.value.kept
    assert "train.rollback_on_nan" in caught.value.todo
    assert all(p.isfinite().all() for n, p in trainer.model.named_parameters() if n != "h.0.mlp.c_fc.weight")


def test_a_rollback_happens_once_at_half_the_learning_rate_which_a_resume_keeps(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    recipe = tiny("train.steps=60", "train.rollback_on_nan=true", "train.schedule=constant", "train.warmup=0")
    trainer, events, times = Trainer(recipe, tokens, tmp_path, CPU), list[Event](), list[int]()

    def once(metric: Metric) -> tuple[Stop, ...] | None:
        times.append(metric.step)
        if times.count(25) == 1:
            poison(trainer, 25)(metric)
        return (Stop(),) if metric.step == 45 else None

    train(trainer, once, events)
    assert times == [*range(1, 26), *range(21, 46)]
    assert [e.step for e in of_type(Resumed, events)] == [20]
    note = next(note for note in note_texts(events) if "back to step 20" in note)
    assert "first in the weights h.0.mlp.c_fc.weight; back to step 20, at 0.5 times the learning rate" in note
    rates = [metric.lr for metric in of_type(Metric, events)]
    assert rates == [recipe.train.lr] * 25 + [recipe.train.lr / 2] * 25
    again = Trainer(recipe, tokens, tmp_path, CPU)
    with pytest.raises(NonFiniteError) as caught:
        train(again, poison(again, 50), events := [])
    assert {metric.lr for metric in of_type(Metric, events)} == {recipe.train.lr / 2}
    assert "step 45" in caught.value.kept


def test_without_a_checkpoint_there_is_no_rollback(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    trainer = Trainer(tiny("train.steps=40", "train.rollback_on_nan=true"), tokens, tmp_path, CPU)
    with pytest.raises(NonFiniteError) as caught:
        train(trainer, poison(trainer, 5))
    assert "no checkpoint had been saved yet" in caught.value.kept


def test_the_first_non_finite_tensor_is_named() -> None:
    torch.manual_seed(1)
    examples = next_token(torch.randint(50, (8, 17), generator=torch.Generator().manual_seed(1)))

    def fresh() -> Any:
        return GPT(Model(n_layer=2, n_head=2, n_embd=32, block_size=16, zero_init=False), 50)

    with torch.no_grad():
        model = fresh()
        model.h[1].attn.c_attn.weight[0, 0] = torch.nan
        assert diagnose(model, examples, {})[0] == "the weights h.1.attn.c_attn.weight"
        model = fresh()
        model.h[1].mlp.c_fc.weight.fill_(1e25)  # squared by the activation
        tensor, cause = diagnose(model, examples, {})
        assert tensor.startswith("the output of h.1.mlp")
        assert "learning rate" in cause
        assert "bfloat16" not in cause
    model = fresh()
    parallel = DataParallel(model)
    accumulate_gradients(parallel, examples, 8, Train())
    model.h[0].attn.c_proj.weight.grad[1, 1] = torch.inf
    model.h[1].ln_1.weight.grad[1] = torch.inf  # the backward pass reaches this one first
    assert diagnose(model, examples, parallel.named_gradients())[0] == "the gradient of h.1.ln_1.weight"
