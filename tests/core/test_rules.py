"""The rules of a recipe: at which evaluation each acts, once, also in resumed runs; and what follows from it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.checkpoints import validation_loss
from core.events import CheckpointSaved, Evaluation, Event, Resumed, RuleActed
from core.recipe.checks import RecipeError
from core.recipe.file import load
from core.recipe.schema import Recipe
from core.runs.directory import Run, RunState
from core.runs.launch import wait_until_ended
from core.storage.artifact import Artifact
from core.train.checkpoint import TrainingState
from core.train.non_finite import NonFiniteError
from core.train.rules import fell_below, finished_reason
from core.train.trainer import Trainer
from llmtui.view.next_steps import next_steps
from llmtui.view.run_snapshot import take_snapshot
from llmtui.view.run_state import state_text
from tests.core.training import CPU, checkpoint_steps, of_type, stop_at, train
from tests.waiting import PATIENCE, wait_for

Make = Callable[..., Recipe]


def acted(recipe: Recipe, state: TrainingState, bits: list[float]) -> list[tuple[int, str]]:
    """(number of the evaluation, action) of those of `bits` at which the rule acts, one evaluation per step."""
    found: list[tuple[int, str]] = []
    for value in bits:
        state.step += 1
        if event := fell_below(recipe, state, value):
            found.append((event.step, event.action))
    return found


def test_below_acts_at_the_first_evaluation_below_and_once() -> None:
    recipe = load(overrides=["rules.below=1.5"])
    assert acted(recipe, TrainingState(), [2.0, math.nan, 1.5, 1.4999, 1.6, 1.2]) == [(4, "checkpoint")]
    assert acted(load(), TrainingState(), [0.1]) == []
    state = TrainingState(below=1.5)  # from a checkpoint after it acted
    assert acted(recipe, state, [1.4]) == []
    assert acted(load(overrides=["rules.below=1.7"]), state, [1.4]) == []
    assert acted(load(overrides=["rules.below=1.3", "rules.stop=true"]), state, [1.4, 1.2, 1.1]) == [(4, "stop")]


def test_below_does_not_act_on_untrained_weights_nor_stop_a_training_at_its_end() -> None:
    recipe = load(overrides=["rules.below=1.5", "rules.stop=true", "train.steps=2"])
    assert fell_below(recipe, TrainingState(), 1.0) is None
    assert acted(recipe, TrainingState(step=1), [1.0]) == [(2, "checkpoint")]


def test_patience_counts_evaluations_in_a_row() -> None:
    recipe = load(overrides=["train.patience=3"]).train
    reasons = [finished_reason(recipe, TrainingState(step=1, stale=stale)) for stale in range(5)]
    assert reasons == ["", "", "", *(f"{n} evaluations in a row were no better" for n in (3, 4))]


def test_stop_without_below_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"without rules\.below"):
        load(overrides=["rules.stop=true"])


LEARNING = ("train.steps=60", "train.evaluate_every=5", "train.checkpoint_every=1000", "train.lr=0.01")


def threshold(tiny: Make, tokens: Artifact, directory: Path) -> tuple[float, int]:
    """A loss that a training first falls below at a known step, long before its end."""
    evaluations = list(of_type(Evaluation, train(Trainer(tiny(*LEARNING), tokens, directory, CPU))))
    bits = [evaluation.bits_per_byte for evaluation in evaluations if evaluation.step]
    limit = (bits[1] + bits[2]) / 2
    step = next(e.step for e in evaluations if e.step and e.bits_per_byte < limit)
    assert step < 60
    return limit, step


@pytest.mark.heavy
def test_a_run_below_its_limit_saves_a_checkpoint_and_stops_also_when_resumed_before(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    for name in ("free", "whole", "resumed"):
        (tmp_path / name).mkdir()
    limit, step = threshold(tiny, tokens, tmp_path / "free")
    recipe = tiny(*LEARNING, f"rules.below={limit}", "rules.stop=true")
    events = train(Trainer(recipe, tokens, tmp_path / "whole", CPU))
    (rule,) = of_type(RuleActed, events)
    assert (rule.rule, rule.step, rule.action) == ("below", step, "stop")
    assert checkpoint_steps(tmp_path / "whole") == [step]
    train(Trainer(recipe, tokens, tmp_path / "resumed", CPU), stop_at(step - 2))
    assert [e.step for e in of_type(RuleActed, train(Trainer(recipe, tokens, tmp_path / "resumed", CPU)))] == [step]
    # resumed after it acted, the run continues to its end
    events = train(again := Trainer(recipe, tokens, tmp_path / "resumed", CPU))
    assert [e.step for e in of_type(Resumed, events)] == [step]
    assert not list(of_type(RuleActed, events)) and again.state.finished and again.state.step == 60


@pytest.mark.heavy
def test_without_stop_a_checkpoint_is_saved_and_the_training_goes_on(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "free").mkdir()
    (tmp_path / "on").mkdir()
    limit, step = threshold(tiny, tokens, tmp_path / "free")
    events = train(Trainer(tiny(*LEARNING, f"rules.below={limit}"), tokens, tmp_path / "on", CPU))
    assert [(e.step, e.action) for e in of_type(RuleActed, events)] == [(step, "checkpoint")]
    assert [saved.step for saved in of_type(CheckpointSaved, events)] == [step, 60]


@pytest.mark.heavy
def test_early_stopping_leaves_the_best_checkpoint(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    recipe = tiny(
        *("train.steps=1000", "train.evaluate_every=5", "train.checkpoint_every=1000", "train.patience=2"),
        *("train.lr=0.3", "train.muon_lr=0.9", "train.warmup=0", "train.schedule=constant", "train.keep_checkpoints=2"),
    )
    events = train(Trainer(recipe, tokens, tmp_path, CPU))
    (rule,) = of_type(RuleActed, events)
    best = [e for e in of_type(Evaluation, events) if e.best][-1]
    assert (rule.rule, rule.action) == ("patience", "finish") and rule.step == best.step + 10
    if best.step:
        kept = {path: validation_loss(Artifact.open(path)) for path in tmp_path.glob("step-*")}
        assert min(kept.values()) == best.loss


@pytest.mark.heavy
def test_a_loss_that_is_not_finite_is_reported_as_a_rule(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    trainer = Trainer(tiny("train.steps=5"), tokens, tmp_path, CPU)
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(math.nan)
    events: list[Event] = []
    with pytest.raises(NonFiniteError):
        train(trainer, events=events)
    assert [(e.rule, e.step, e.action) for e in of_type(RuleActed, events)] == [("not finite", 1, "fail")]


@pytest.mark.heavy
def test_a_real_run_stops_by_its_rule_says_why_and_runs_the_command(
    tiny: Make, launched: Callable[[Recipe], Run]
) -> None:
    facts = "$LLMTUI_RULE $LLMTUI_RUN $LLMTUI_STEP $LLMTUI_BITS_PER_BYTE"
    command = f'echo "{facts}"; echo "in $(pwd)" >&2; sleep 0.2; echo end'
    limits = ("train.steps=100000", "train.evaluate_every=5")
    run = launched(tiny(*limits, "rules.below=900", "rules.stop=true", f"rules.command='{command}'"))
    assert wait_until_ended(run, PATIENCE)
    ended = run.end_event()
    assert run.state() is RunState.STOPPED and ended is not None
    assert re.fullmatch(r"\d\.\d{4} bits per byte are below 900", ended.what)
    summary = run.summary()
    assert summary.saved is not None and summary.evaluation is not None
    assert summary.saved.step == summary.evaluation.step > 0
    wait_for(lambda: "\nend\n" in run.log.read_text(), what="the end of the command")
    log_text = run.log.read_text()
    bits = f"{summary.evaluation.bits_per_byte:.6f}"
    assert f"below tiny {summary.evaluation.step} {bits}\n" in log_text and f"in {run.path}\n" in log_text
    assert state_text(run) == f"stopped: {ended.what}"
    text = "\n".join(text for text, _ in next_steps(take_snapshot(run), {"chat": "5", "model": "4", "logs": "7"}))
    assert ended.what in text and "r resumes from step" in text
