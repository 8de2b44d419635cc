"""Studies with trials that end at once: what is started, recorded, and kept when the controller is killed."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.events import AttemptEnded, AttemptStarted, Evaluation, Metric, StageStarted
from core.recipe.file import load
from core.recipe.schema import Recipe
from core.runs.directory import Run, RunState
from core.storage.workspace import Workspace
from core.tune.controller import Controller
from core.tune.lookup import find_study, study_ids
from core.tune.requests import Request
from core.tune.space import SpaceError
from core.tune.study import Study
from core.tune.study_file import StudyFile
from core.tune.tpe import importances
from core.tune.trials import best_trial
from tests.ui.fake_runs import FakeWorker, write_launch

SPACE = {"train.lr": {"low": 1e-4, "high": 1e-1, "log": True}}


class Killed(Exception):
    """Stands for SIGKILL of the controller."""


def recipe(*overrides: str) -> Recipe:
    tables = {"name": "study", "source": {"corpus": "stdlib"}, "train": {"minutes": 0.5, "device": "cpu"}}
    return load(base=tables, overrides=overrides)


def new_study(workspace: Workspace, *overrides: str, **settings: Any) -> Study:
    values: dict[str, Any] = {"space": SPACE, "trials": 6}
    file = StudyFile(**(values | settings))
    return Study.create(workspace.prepare(), recipe(*overrides), file)


def bits_of(run: Run) -> float:
    """The lowest at a learning rate of 3e-3."""
    return 1.0 + (math.log10(run.recipe.train.lr) - math.log10(3e-3)) ** 2 / 4 + 0.01 * run.recipe.train.seed


def finish(run: Run, workspace: Workspace, share: bool) -> None:
    """Trains the run in no time."""
    write_launch(run, code=0)
    evaluation = Evaluation(step=100, loss=2.0, train_loss=None, bits_per_byte=bits_of(run), best=True, final=True)
    FakeWorker(run).write_events(
        AttemptStarted(attempt=1, pid=1, host="here", device="cpu"),
        StageStarted(stage="train"),
        Metric(step=100, loss=2.0, lr=1e-3, grad_norm=1.0, tokens=10_000, seconds=30.0, progress=1.0),
        evaluation,
        AttemptEnded(attempt=1, outcome="done"),
    )


def fail(run: Run) -> None:
    write_launch(run, code=1)
    FakeWorker(run).write_events(
        AttemptStarted(attempt=1, pid=1, host="here", device="cpu"),
        AttemptEnded(attempt=1, outcome="failed", what="the loss is not finite", exit_code=1),
    )


def run_to_end(study: Study, workspace: Workspace, start: Callable[[Run, Workspace, bool], None] = finish) -> None:
    controller = Controller(study, workspace, start)
    for _ in range(1000):
        if controller.tick():
            return
    raise AssertionError("the study does not end")


def runs_of(workspace: Workspace) -> list[Run]:
    return [Run.open(path) for path in sorted(workspace.runs.iterdir())]


def test_a_study_starts_its_trials_and_records_their_results(workspace: Workspace) -> None:
    study = new_study(workspace)
    run_to_end(study, workspace)
    trials = study.trials()
    assert [trial.number for trial in trials] == [1, 2, 3, 4, 5, 6]
    assert len({trial.values["train.lr"] for trial in trials}) == 6
    for trial in trials:
        run = Run.open(workspace.runs / trial.run_id)
        assert run.recipe.train.lr == trial.values["train.lr"]
        assert run.file.study is not None and run.file.study.id == study.id
        assert trial.ended is not None and trial.ended.seconds == 30.0
        assert trial.bits_per_byte == pytest.approx(bits_of(run))
    best = best_trial(trials)
    assert best is not None and best.bits_per_byte == min(trial.bits_per_byte or 9 for trial in trials)
    assert study.is_done()
    assert study_ids(workspace) == [study.id] and find_study(workspace, "stu") == study.path


def test_the_same_study_samples_the_same_values(workspace: Workspace) -> None:
    values = []
    for _ in range(2):
        study = new_study(workspace)
        run_to_end(study, workspace)
        values.append([trial.values for trial in study.trials()])
    assert values[0] == values[1]


def test_a_controller_killed_at_any_moment_loses_and_repeats_nothing(workspace: Workspace) -> None:
    """Also when a power failure cuts the last line of the journal."""
    undisturbed = new_study(workspace, trials=20)
    run_to_end(undisturbed, workspace)
    study = new_study(workspace, trials=20)
    rng = random.Random(5)

    def start(run: Run, where: Workspace, share: bool) -> None:
        if rng.random() < 0.3:
            raise Killed
        finish(run, where, share)
        if rng.random() < 0.3:
            raise Killed

    for _ in range(200):
        try:
            run_to_end(Study.open(study.path), workspace, start)
            break
        except Killed:
            if rng.random() < 0.5 and study.journal.exists():
                raw = study.journal.read_bytes()
                study.journal.write_bytes(raw[: -rng.randrange(1, 40)])
    assert [trial.values for trial in study.trials()] == [trial.values for trial in undisturbed.trials()]
    assert all(trial.bits_per_byte is not None for trial in study.trials())
    mine = [run for run in runs_of(workspace) if run.file.study and run.file.study.id == study.id]
    assert sorted(run.id for run in mine) == sorted(trial.run_id for trial in study.trials())


def test_a_grid_ends_with_its_last_combination(workspace: Workspace) -> None:
    space = {"train.lr": [0.001, 0.01], "model.n_head": [2, 3], "model.n_embd": [64]}  # 64 has no three heads
    study = new_study(workspace, space=space, sampler="grid", trials=None)
    run_to_end(study, workspace)
    assert [trial.values["train.lr"] for trial in study.trials()] == [0.001, 0.01]


def test_minutes_of_training_end_a_study(workspace: Workspace) -> None:
    study = new_study(workspace, trials=None, minutes=2.0)  # trials of half a minute
    run_to_end(study, workspace)
    assert len(study.trials()) == 4


def test_each_combination_is_repeated_with_other_seeds(workspace: Workspace) -> None:
    study = new_study(workspace, trials=6, repeats=3)
    run_to_end(study, workspace)
    trials = study.trials()
    assert [trial.seed for trial in trials] == [1, 2, 3] * 2
    assert trials[0].values == trials[1].values == trials[2].values != trials[3].values


def test_values_that_failed_are_not_repeated_with_other_seeds(workspace: Workspace) -> None:
    study = new_study(workspace, space={"train.lr": [0.001, 0.1]}, trials=6, repeats=3)
    run_to_end(study, workspace, lambda run, *rest: fail(run) if run.recipe.train.lr == 0.1 else finish(run, *rest))
    trials = study.trials()
    assert [trial.seed for trial in trials if trial.values["train.lr"] == 0.1] == [1]
    assert sorted(trial.seed for trial in trials if trial.values["train.lr"] == 0.001) == [1, 2, 3]


def test_no_combination_is_tried_twice_and_one_that_fails_has_a_reason(workspace: Workspace) -> None:
    study = new_study(workspace, space={"train.lr": [0.001, 0.01, 0.1]}, trials=8)

    def start(run: Run, where: Workspace, share: bool) -> None:
        if run.recipe.train.lr == 0.1:
            fail(run)
        else:
            finish(run, where, share)

    run_to_end(study, workspace, start)
    failed = [trial for trial in study.trials() if trial.ended and trial.ended.outcome == "failed"]
    assert len(failed) == 1 and failed[0].ended is not None
    assert failed[0].ended.reason == "the loss is not finite"
    assert sorted(trial.values["train.lr"] for trial in study.trials()) == [0.001, 0.01, 0.1]  # there are no others


def test_an_edited_study_is_followed_and_nonsense_is_not(workspace: Workspace) -> None:
    study = new_study(workspace, trials=1)
    controller = Controller(study, workspace, finish)
    file = study.path / "study.toml"
    good = file.read_text()
    file.write_text("trials = [")
    controller.tick()
    controller.tick()
    assert study.file.trials == 1 and "study.toml" in controller.problem
    assert "continues with its settings before the edit" in controller.problem
    file.write_text(good.replace("trials = 1", "trials = 3"))
    while not controller.tick():
        pass
    assert len(study.trials()) == 3


def test_inserted_trials_run_first_and_impossible_ones_are_dropped(workspace: Workspace) -> None:
    study = new_study(workspace, trials=1)
    for number, values in enumerate(({"train.lr": 7.0}, {"train.lr": 0.02})):
        (study.control / f"add-{number}.json").write_bytes(msgspec.json.encode(Request(values=values)))
    run_to_end(study, workspace)
    assert [(trial.origin, trial.values["train.lr"] == 0.02) for trial in study.trials()] == [
        ("inserted", True),
        ("sampled", False),
    ]


def test_a_pause_starts_nothing_and_a_deleted_trial_is_lost(workspace: Workspace) -> None:
    study = new_study(workspace, trials=2)
    (study.control / "pause").touch()
    controller = Controller(study, workspace, finish)
    assert not controller.tick() and not study.trials()
    (study.control / "pause").unlink()
    controller.tick()
    shutil.rmtree(workspace.runs / study.trials()[0].run_id)
    while not controller.tick():
        pass
    first = study.trials()[0].ended
    assert first is not None and first.outcome == "lost" and "its run is gone" in first.reason


def test_a_study_that_was_stopped_continues_its_trials(workspace: Workspace) -> None:
    study = new_study(workspace, trials=1)
    started: list[str] = []

    def stop(run: Run, where: Workspace, share: bool) -> None:
        started.append(run.id)
        write_launch(run, code=3, attempt=len(started))
        FakeWorker(run).write_events(
            AttemptStarted(attempt=len(started), pid=1, host="here", device="cpu"),
            AttemptEnded(attempt=len(started), outcome="stopped", exit_code=3),
        )

    controller = Controller(study, workspace, stop)
    controller.tick()
    (study.control / "stop").touch()
    assert controller.tick()
    assert study.trials()[0].ended is None
    assert Run.open(workspace.runs / started[0]).state() is RunState.STOPPED
    (study.control / "stop").unlink()
    again = Controller(Study.open(study.path), workspace, stop)
    again.tick()
    assert started == [started[0]] * 2  # the same run, not a new one


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": None}, "it has no end"),
        ({"space": {}}, "it is empty"),
        ({"minutes": 0.1}, "one trial may take 0.5 minutes"),
    ],
)
def test_a_study_that_cannot_work_is_refused(workspace: Workspace, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        new_study(workspace, **settings)
    assert study_ids(workspace) == []


def test_a_space_that_an_edit_leaves_without_a_possible_model_ends_with_the_reason(workspace: Workspace) -> None:
    study = new_study(workspace, space={"model.n_head": [4]}, trials=2)
    file = study.path / "study.toml"
    file.write_text(file.read_text().replace("[4]", "[3]"))
    controller = Controller(Study.open(study.path), workspace, finish)
    assert controller.tick()
    assert "no combination is possible" in controller.message
    assert not study.is_done()


def test_tpe_finds_better_values_than_random_search(workspace: Workspace) -> None:
    pytest.importorskip("optuna")
    best: dict[str, list[float]] = {"random": [], "tpe": []}
    for sampler, found in best.items():
        for seed in (1, 2):
            study = new_study(workspace, sampler=sampler, trials=16, seed=seed)
            run_to_end(study, workspace)
            trial = best_trial(study.trials())
            assert trial is not None and trial.bits_per_byte is not None
            found.append(trial.bits_per_byte)
    assert sum(best["tpe"]) <= sum(best["random"])


def test_the_field_that_matters_is_the_most_important(workspace: Workspace) -> None:
    pytest.importorskip("optuna")
    space = SPACE | {"train.weight_decay": {"low": 0.0, "high": 0.1}}
    study = new_study(workspace, space=space, trials=7)
    run_to_end(study, workspace)
    assert importances(study) == {}
    study = new_study(workspace, space=space, trials=40)
    run_to_end(study, workspace)
    found = importances(study)
    assert next(iter(found)) == "train.lr" and sum(found.values()) == pytest.approx(1)
    assert found["train.lr"] > 2 * found["train.weight_decay"]


def test_two_controllers_cannot_run_one_study(workspace: Workspace, tmp_path: Path) -> None:
    from core.tune.run_study import run_controller

    study = new_study(workspace, trials=1)
    # a lock is not held against its own process: another one holds it
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from core.storage.locks import Lock;"
        "lock = Lock.acquire(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(study.path / "controller.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        assert run_controller(study, workspace) == 75
        assert study.controller() == holder.pid
        holder.communicate()
