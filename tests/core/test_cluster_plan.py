"""Plans for many GPUs: what is divided among them, and that torch shards as predicted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import scaling
from core.model.cluster_plan import plan_cluster
from core.model.count import parameters
from llmtui.cli.main import run as command_line

VOCABULARY = 50_257


def test_a_model_is_sharded_where_a_whole_one_does_not_fit_and_takes_less_on_more_gpus() -> None:
    recipe = scaling.recipe("7B", "adamw")
    assert plan_cluster(recipe, VOCABULARY, 1, 80 * 2**30).micro_batch == 0
    plans = [plan_cluster(recipe, VOCABULARY, gpus, 80 * 2**30) for gpus in (4, 8, 64)]
    assert all(plan.sharded and plan.micro_batch for plan in plans)
    count = parameters(recipe.model, VOCABULARY).total
    for plan, gpus in zip(plans, (4, 8, 64), strict=True):
        # float32 weights and gradients, and two moments of AdamW
        assert plan.memory.weights == plan.memory.gradients == -(-4 * count // gpus)
        assert plan.memory.optimizer == -(-8 * count // gpus)
        assert plan.memory.peak <= 0.9 * 80 * 2**30
    assert not plan_cluster(scaling.recipe("1.5B", "adamw"), VOCABULARY, 8, 80 * 2**30).sharded


@pytest.mark.heavy
def test_torch_shards_as_planned_and_an_uneven_batch_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    shape = ("model.n_layer=2", "model.n_head=2", "model.n_embd=64", "train.batch_size=9", "train.sharding=full")
    arguments = [part for setting in shape for part in ("--set", setting)]
    assert command_line(["plan", *arguments, "--gpus", "4", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["plan"]["most"], found["plan"]["least"], found["plan"]["sharded"]) == (3, 2, True)
    assert found["sharded_weights"] == pytest.approx(found["plan"]["memory"]["weights"], rel=0.01)


def test_on_a_target_the_command_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["plan", "--gpus", "16", "--on", "slurm:big", "--nodes", "2"]) == 0
    text = capsys.readouterr().out
    assert "whole on each GPU" in text and "some have none" in text
    assert "llmtui run RECIPE --processes 16 --on slurm:big --nodes 2" in text
    assert "#SBATCH --partition=big" in text and "--nproc-per-node=8" in text
    assert command_line(["plan", "--on", "slurm"]) == 2
