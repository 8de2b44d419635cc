"""Limits of a study: what is left out, what is refused before anything starts, equal compute, and two objectives."""

from __future__ import annotations

from typing import Any

import pytest

from core.model.count import flops_per_token, parameters
from core.recipe.file import load
from core.storage.workspace import Workspace
from core.tune import constraints
from core.tune.constraints import require_possible, trial_recipe, why_left_out
from core.tune.front import front
from core.tune.lookup import study_ids
from core.tune.space import SpaceError, read_space
from core.tune.study import Study
from core.tune.study_file import StudyFile, StudyFileError
from core.tune.tpe import tpe_values
from core.tune.trials import Trial, TrialEnded
from tests.core.test_tune_controller import new_study, run_to_end
from tests.core.test_tune_slices import trial

RECIPE = load(
    base={
        "name": "study",
        "source": {"corpus": "stdlib"},
        "tokenize": {"vocabulary": "bytes"},
        "model": {"n_layer": 2, "n_head": 2, "n_embd": 64, "block_size": 32},
        "train": {"minutes": 1, "batch_size": 4},
    }
)


@pytest.mark.parametrize("layers", [1, 2, 8])
def test_trials_of_any_size_get_the_same_compute(layers: int) -> None:
    file = StudyFile(trials=1, flops=1e12)
    recipe = trial_recipe(file, RECIPE, {"model.n_layer": layers})
    assert recipe.train.minutes is None and recipe.train.steps is None and recipe.train.tokens is not None
    spent = recipe.train.tokens * flops_per_token(recipe.model, 257).training
    assert spent == pytest.approx(1e12, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_parameters": 100_000}, "parameters are more than max_parameters = 100,000"),
        ({"flops": 1e6}, "FLOPs are less than the"),
        ({"fits_memory": True}, "MiB are free"),
    ],
)
def test_a_study_of_which_no_point_is_possible_is_refused_by_name(
    workspace: Workspace, settings: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constraints, "memory_for", lambda device: (10**6, False))
    file = StudyFile(trials=2, space={"model.n_layer": [2, 4], "train.lr": {"low": 0.001, "high": 0.01}}, **settings)
    with pytest.raises(SpaceError, match="no combination is possible") as caught:
        Study.create(workspace.prepare(), RECIPE, file)
    assert reason in str(caught.value)
    assert study_ids(workspace) == []


def test_a_step_that_leaves_one_value_is_refused_in_a_new_study(workspace: Workspace) -> None:
    file = StudyFile(trials=2, space={"train.lr": {"low": 0.1, "high": 0.2, "step": 1.0}})
    with pytest.raises(SpaceError, match="step 1 is wider than the range"):
        Study.create(workspace.prepare(), RECIPE, file)


def test_only_the_points_within_the_limits_are_trained(workspace: Workspace) -> None:
    space = read_space({"model.n_layer": [1, 2, 16]}, RECIPE)
    file = StudyFile(trials=3, max_parameters=parameters(RECIPE.model, 257).total)
    require_possible(file, space, RECIPE, "study.toml")
    assert [why_left_out(file, RECIPE, {"model.n_layer": layers}) is None for layers in (1, 2, 16)] == [
        True,
        True,
        False,
    ]
    study = Study.create(
        workspace.prepare(), RECIPE, StudyFile(trials=5, space={"model.n_layer": [1, 2, 16]}, flops=1e12)
    )
    run_to_end(study, workspace)
    recipes = [trial_recipe(study.file, RECIPE, each.values) for each in study.trials()]
    assert len({recipe.train.tokens for recipe in recipes}) == 3


def test_tpe_is_told_which_proposals_were_refused() -> None:
    pytest.importorskip("optuna")
    space = read_space({"model.n_layer": [1, 2, 4, 8]}, RECIPE)
    file = StudyFile(trials=30, sampler="tpe")
    known = [trial(n, {"model.n_layer": 2 ** (n % 4)}, 2.0 - n % 4) for n in range(12)]  # 8 layers are the best
    found = [values["model.n_layer"] for values in tpe_values(file, space, RECIPE, known, 12)]
    assert found[:10].count(8) > found[10:].count(8)


def test_the_front_is_what_no_other_trial_beats_in_both() -> None:
    def sized(number: int, bits: float | None, size: int) -> Trial:
        outcome: Any = "failed" if bits is None else "done"
        ended = TrialEnded(
            number=number, outcome=outcome, bits_per_byte=bits, parameters=size, tokens_per_second=1e6 / size
        )
        return Trial(number=number, run_id="run", values={}, seed=1, origin="sampled", ended=ended)

    trials = [sized(1, 2.0, 100), sized(2, 1.5, 400), sized(3, 1.75, 400), sized(4, None, 10), sized(5, 1.75, 200)]
    trials += [sized(6, 2.5, 150), sized(7, 2.0, 100)]
    assert [each.number for each in front(trials, "parameters")] == [2, 5, 1]
    assert [each.number for each in front(trials, "tokens_per_second")] == [2, 5, 1]
    assert front([], "parameters") == []


def test_a_study_with_two_objectives_has_no_rungs_and_tpe_searches_both(workspace: Workspace) -> None:
    with pytest.raises(StudyFileError, match="has no parameters to be compared"):
        new_study(workspace, second_objective="parameters", scheduler={"kind": "asha"})
    pytest.importorskip("optuna")
    study = new_study(workspace, second_objective="tokens_per_second", sampler="tpe", trials=14)
    run_to_end(study, workspace)
    trials = study.trials()
    assert len(trials) == 14 and len({each.values["train.lr"] for each in trials}) == 14
    assert front(trials, "tokens_per_second")
