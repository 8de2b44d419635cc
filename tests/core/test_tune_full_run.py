"""How long a full run with the best values of a study trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.storage.workspace import Workspace
from core.tune.full_run import full_limits, limit_changes
from core.tune.study import Study
from llmtui.cli.main import run as command_line
from tests.core.test_tune_controller import new_study

TRIAL = ("train.minutes=none", "train.steps=40")


def test_a_full_run_is_as_long_as_the_study_says_or_ten_times_a_trial(workspace: Workspace) -> None:
    trial = new_study(workspace, *TRIAL)
    assert full_limits(trial) == {"steps": 400}
    assert limit_changes(trial.recipe.train, full_limits(trial)) == {"train.steps": 400}
    of_compute = new_study(workspace, *TRIAL, flops=1e15)
    assert full_limits(of_compute) == {"steps": 40}, "the limit that the FLOPs of the trials replace"
    given = Study.open(new_study(workspace, *TRIAL, full_run={"minutes": 60.0}).path)
    assert limit_changes(given.recipe.train, full_limits(given)) == {"train.steps": None, "train.minutes": 60.0}


def test_the_limit_of_the_recipe_is_kept_where_an_option_shortens_the_trials(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, in_temporary_directory: Path
) -> None:
    monkeypatch.setattr("llmtui.cli.commands.tune.start", lambda *_: None)
    Path("book.toml").write_text('name = "book"\n[source]\ncorpus = "stdlib"\n[train]\nminutes = 60\n')
    for option, expected in (("train.minutes=2", {"minutes": 60.0}), ("train.lr=0.001", {"minutes": 600.0})):
        assert command_line(["tune", "book.toml", "--set", option, "--name", option[6:8] + "-study", "--detach"]) == 0
        study = next(Study.open(path) for path in (workspace.data / "studies").glob(f"*-{option[6:8]}-study-*"))
        assert full_limits(study) == expected
