"""`llmtui tune`: starting, showing and changing studies."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from core.events import Metric
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from core.tune.controller import Controller
from core.tune.repeats import lead
from core.tune.start import request_trial, start, waiting_trials
from core.tune.study import Study
from core.tune.study_file import Scheduler, StudyFile
from core.tune.trials import best_trial
from llmtui.cli.commands.tune_lr import bracket
from llmtui.cli.main import run as command_line
from llmtui.cli.study_output import follow_study
from llmtui.view.study_text import bracket_table, bracket_text, lead_text, trial_rows
from llmtui.view.units import cost
from tests.conftest import tiny_recipe
from tests.core.test_tune_controller import fail, finish, new_study, run_to_end
from tests.core.test_tune_controller import recipe as tune_recipe
from tests.core.test_tune_halving import train as train_to_rung
from tests.core.test_tune_scaling import trial as sized_trial
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("in_temporary_directory")


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = command_line([*arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert command_line([*arguments]) == 2
    return capsys.readouterr().err


def test_a_study_is_listed_shown_exported_and_its_best_trial_saved(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    study = new_study(workspace)
    run_to_end(study, workspace)
    assert study.id in output(capsys, "tune", "ls")
    shown = output(capsys, "tune", "show").splitlines()
    assert shown[0].split() == ["TRIAL", "STATE", "BPB", "TIME", "lr", "WHY"]
    assert shown[1].split()[0].endswith("*") and len(shown) == 7
    bits = [float(line.split()[2]) for line in shown[1:]]
    assert bits == sorted(bits)
    records = [json.loads(line) for line in output(capsys, "tune", "show", "--json").splitlines()]
    assert {record["state"] for record in records} == {"done"}
    table = list(csv.DictReader(output(capsys, "tune", "export", study.name).splitlines()))
    assert len(table) == 6 and {row["machine"] for row in table} == {"here"}
    assert [float(row["train.lr"]) for row in table] == [trial.values["train.lr"] for trial in study.trials()]
    assert command_line(["tune", "best", "--save", "best.toml"]) == 0
    assert "a full run: llmtui run best.toml --set train." in capsys.readouterr().err
    best = min(study.trials(), key=lambda trial: trial.bits_per_byte or 9)
    assert f"lr = {best.values['train.lr']}" in Path("best.toml").read_text()
    assert "the file exists" in refused(capsys, "tune", "best", "--save", "best.toml")


def test_a_trial_is_inserted_with_checked_values(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    study = new_study(workspace)
    assert "not a number above 0, at most 1" in refused(capsys, "tune", "add", "--set", "train.lr=7")
    assert "did you mean" in refused(capsys, "tune", "add", "--set", "train.lrr=0.1")
    output(capsys, "tune", "add", "--set", "train.lr=0.02")
    run_to_end(study, workspace)
    assert study.trials()[0].values == {"train.lr": 0.02}
    assert "no trial 99" in refused(capsys, "tune", "drop", "99")
    assert "has ended" in refused(capsys, "tune", "drop", "1")


def test_optuna_opens_what_is_exported_for_it(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    optuna = pytest.importorskip("optuna")
    from optuna.storages.journal import JournalFileBackend

    study = new_study(workspace, trials=3)
    run_to_end(study, workspace)
    assert "--output study.log" in refused(capsys, "tune", "export", "--format", "optuna")
    output(capsys, "tune", "export", "--format", "optuna", "--output", "study.log")
    storage = optuna.storages.JournalStorage(JournalFileBackend("study.log"))
    opened = optuna.load_study(study_name=study.id, storage=storage)
    assert [trial.value for trial in opened.trials] == [trial.bits_per_byte for trial in study.trials()]
    assert opened.best_trial.params == (best_trial(study.trials()) or study.trials()[0]).values
    assert opened.trials[0].user_attrs["seed"] == 1 and opened.trials[0].user_attrs["machine"] == "here"
    assert "the file exists" in refused(capsys, "tune", "export", "--output", "study.log")


def test_loss_against_compute_is_fitted_over_studies(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(workspace, trials=2)
    run_to_end(study, workspace)
    assert command_line(["tune", "scaling"]) == 1 and "whose compute is known" in capsys.readouterr().err
    trials = [sized_trial(n, 10.0**n, 10.0 ** (n - 8 + n % 3 / 10), 1 + 30 * 10 ** (-n / 10)) for n in range(10, 18)]
    monkeypatch.setattr(Study, "trials", lambda study: trials)
    shown = output(capsys, "tune", "scaling", "--flops", "1e18").splitlines()
    assert len(shown) == 11 and all("*" in line for line in shown[1:9])
    assert shown[9].startswith("bits per byte = L∞ + A·C^−α: L∞ 1.0") and shown[10].startswith("1e+18 FLOPs: 1.4")
    assert "parameters and" in shown[10]
    records = [json.loads(line) for line in output(capsys, "tune", "scaling", "--json").splitlines()]
    assert records[8]["law"]["exponent"] == pytest.approx(0.1, rel=0.1)
    assert records[-1]["suggestion"]["flops"] == 1e18


def test_five_learning_rates_are_compared(workspace: Workspace) -> None:
    settings = bracket(tune_recipe("train.optimizer=adamw", "train.lr=0.003", "train.minutes=9"), "train.lr", 0.5)
    study = Study.create(workspace.prepare(), *settings)
    run_to_end(study, workspace)
    trials = study.trials()
    assert sorted(trial.values["train.lr"] for trial in trials) == [0.0003, 0.0009487, 0.003, 0.009487, 0.03]
    assert study.recipe.train.minutes == 0.5
    table = bracket_table(trials, "train.lr")
    assert [row[0] for row in table] == ["train.lr", "0.0003", "0.0009487", "0.003*", "0.009487", "0.03"]
    assert bracket_text(trials, "train.lr") == "the best of 5: --set train.lr=0.003"
    high = Study.create(workspace, *bracket(tune_recipe("train.optimizer=adamw", "train.lr=1e-5"), "train.lr", 0.5))
    run_to_end(high, workspace)
    assert bracket_text(high.trials(), "train.lr").endswith("it is the highest: try again from there")


def test_an_edit_that_is_refused_keeps_the_text(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(workspace)
    before = (study.path / "study.toml").read_text()
    monkeypatch.setenv("VISUAL", "sed -i s/trials/trails/")
    error = refused(capsys, "tune", "edit")
    assert "did you mean 'trials'?" in error and str(study.path / "rejected.toml") in error
    assert (study.path / "study.toml").read_text() == before
    assert (study.path / "rejected.toml").read_text() == before.replace("trials", "trails", 1)


def test_the_table_says_the_seeds_where_they_differ(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    study = new_study(workspace, repeats=2, trials=4)
    run_to_end(study, workspace)
    heading, *lines = output(capsys, "tune", "show").splitlines()
    place = heading.split().index("SEED")
    assert sorted(line.split()[place] for line in lines) == ["1", "1", "2", "2"]


def test_slices_are_printed_for_each_field(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    study = new_study(workspace)
    assert command_line(["tune", "slices"]) == 1 and "no result yet" in capsys.readouterr().err
    run_to_end(study, workspace)
    lines = output(capsys, "tune", "slices").splitlines()
    assert lines[0].split() == ["train.lr", "TRIALS", "BEST", "BPB", "MEDIAN"]
    groups = lines[1 : next(n for n, line in enumerate(lines) if line.startswith("BEST SO FAR")) - 1]
    assert sum(int(line.split()[-3]) for line in groups) == 6
    records = [json.loads(line) for line in output(capsys, "tune", "slices", "--json").splitlines()]
    assert len(records[0]["slice"]["points"]) == 6
    assert records[-1]["improvement"]["bits_per_byte"] == min(trial.bits_per_byte or 9 for trial in study.trials())
    assert "did you mean 'train.lr'" in refused(capsys, "tune", "slices", "--field", "train.lrr")


def test_what_is_left_of_a_study_is_forecast(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    study = new_study(workspace, trials=3)
    controller = Controller(study, workspace, finish)
    controller.tick()
    controller.tick()
    assert output(capsys, "tune", "forecast").startswith("2 trials left, about 30s of training, done in about")
    record = json.loads(output(capsys, "tune", "forecast", "--json"))
    assert record["remaining"]["training_seconds"] == 30.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tune", "show"), "there are no studies yet"),
        (("tune", "shwo"), "Did you mean"),
        (("tune", "stdlib", "--space", "missing.toml"), "no such file"),
        (("tune", "stdlib", "--space", "space.toml", "--trials", "3"), "low 0.1 is above high 0.01"),
        (("tune", "stdlib", "--minutes", "0.1"), "one trial may take"),
        (("tune", "stdlib", "--trials", "0"), "Invalid value"),
        (("tune", "stdlib", "--trials", "3", "--set", "train.steps=9"), "too small for one evaluation: 10% of 9 steps"),
    ],
)
def test_what_cannot_work_is_refused(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    Path("space.toml").write_text("[space]\ntrain.lr = { low = 0.1, high = 0.01 }\n")
    if "--minutes" in arguments:
        arguments = (*arguments, "--set", "train.minutes=1")
    assert message in refused(capsys, *arguments)


def test_a_difference_smaller_than_the_noise_of_seeds_is_called_so(workspace: Workspace) -> None:
    def text(study: Study) -> str:
        run_to_end(study, workspace)
        found = lead(study.trials())
        assert found is not None
        return lead_text(found)

    close = text(new_study(workspace, trials=4, repeats=2, space={"train.lr": [0.003, 0.0031]}))
    assert "the mean of 2 seeds, spread 0.010" in close
    assert close.endswith("a difference smaller than the noise, 0.010 over seeds")
    far = text(new_study(workspace, trials=4, repeats=2, space={"train.lr": [0.003, 0.1]}))
    assert far.endswith("0.580 worse, more than the noise, 0.010 over seeds")
    once = text(new_study(workspace, trials=2, space={"train.lr": [0.003, 0.1]}))
    assert "what another seed changes is not known" in once


def test_trials_are_cloned_retried_and_reordered(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    study = new_study(workspace, trials=2, space={"train.lr": [0.003, 0.1], "model.n_layer": [2]})

    def start(run: Run, where: Workspace, share: bool) -> None:
        fail(run) if run.recipe.train.lr == 0.1 else finish(run, where, share)

    run_to_end(study, workspace, start)
    good, bad = sorted(study.trials(), key=lambda trial: trial.failed)
    assert bad.ended is not None and bad.ended.reason == "the loss is not finite"
    assert "is done" in refused(capsys, "tune", "retry", str(good.number))
    output(capsys, "tune", "clone", str(good.number))
    output(capsys, "tune", "clone", str(good.number))
    output(capsys, "tune", "clone", str(good.number), "train.lr=0.02")
    output(capsys, "tune", "retry", str(bad.number))
    assert "no place 5" in refused(capsys, "tune", "queue", "--move", "5", "1")
    output(capsys, "tune", "queue", "--move", "3", "1")
    waiting = [json.loads(line) for line in output(capsys, "tune", "queue", "--json").splitlines()]
    assert [(each["values"]["train.lr"], each["seed"]) for each in waiting] == [
        (0.02, None),
        (0.003, 2),
        (0.003, 3),
        (0.1, 1),
    ]
    output(capsys, "tune", "queue", "--drop", "3")
    run_to_end(Study.open(study.path), workspace, start)
    assert [(trial.values, trial.seed, trial.failed) for trial in study.trials()[2:]] == [
        ({"train.lr": 0.02, "model.n_layer": 2}, 1, False),
        (good.values, 2, False),
        (bad.values, 1, True),
    ]


def test_a_request_that_is_read_twice_is_one_trial(workspace: Workspace) -> None:
    study = new_study(workspace, trials=1)
    request_trial(study, {"train.lr": 0.02})
    path, _ = waiting_trials(study)[0]
    raw = path.read_bytes()
    Controller(study, workspace, finish).tick()
    path.write_bytes(raw)  # as if the controller had been killed before it could delete the file
    run_to_end(Study.open(study.path), workspace)
    assert [trial.origin for trial in study.trials()] == ["inserted", "sampled"]


def test_waiting_trials_are_shown_promoted_and_dropped(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    study = new_study(workspace, trials=3, scheduler=Scheduler(kind="asha"))
    run_to_end(study, workspace, train_to_rung)
    shown = output(capsys, "tune", "show").splitlines()
    assert shown[0].split() == ["TRIAL", "STATE", "RUNG", "BPB", "TIME", "lr", "WHY"]
    assert [row.state for row in trial_rows(study, workspace)].count("paused") == 2
    known = study.journal.read_bytes()
    study.journal.write_bytes(b"".join(line for line in known.splitlines(True) if b"TrialPaused" not in line))
    assert [row.state for row in trial_rows(study, workspace)].count("paused") == 2  # as their runs say
    study.journal.write_bytes(known)
    assert [line.split()[1:4] for line in shown[2:]] == [["paused", "11", "%"]] * 2
    numbers = [line.split()[0] for line in shown[2:]]
    assert capsys.readouterr().err == ""
    output(capsys, "tune", "promote", numbers[0])
    output(capsys, "tune", "drop", numbers[1])
    assert "has ended" in refused(capsys, "tune", "promote", shown[1].split("*")[0])
    run_to_end(study, workspace, train_to_rung)
    shown = output(capsys, "tune", "show").splitlines()
    assert [line.split()[:4] for line in shown[2:]] == [
        [numbers[0], "paused", "33", "%"],
        [numbers[1], "stopped", *shown[3].split()[2:4]],
    ]
    assert "has ended" in refused(capsys, "tune", "promote", numbers[1])
    (study.path / "problem.txt").write_text("the disk is full")
    assert command_line(["tune", "show"]) == 0 and "the disk is full" in capsys.readouterr().err


def test_a_study_that_is_followed_prints_results_at_rungs_and_at_the_end(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(workspace, trials=2, scheduler=Scheduler(kind="asha"))
    alive = iter([1, None])
    monkeypatch.setattr(Study, "controller", lambda self: next(alive, None))
    monkeypatch.setattr("llmtui.cli.study_output.time.sleep", lambda _: run_to_end(study, workspace, train_to_rung))
    assert follow_study(study, workspace) == 0
    first, second, third, *_ = capsys.readouterr().err.splitlines()
    results = [cost(trial.rungs[0].bits_per_byte) for trial in study.trials()]
    lines = sorted((first, second, third))
    assert sum("bits per byte after 11 %" in line for line in lines) == 2
    assert all(any(result in line for line in lines) for result in results)


@pytest.mark.heavy
def test_a_real_study_survives_the_death_of_its_controller(workspace: Workspace, tiny: Any) -> None:
    recipe: Recipe = tiny("train.steps=4")
    assert recipe.name == tiny_recipe(Path(recipe.source.corpus)).name
    halving = Scheduler(kind="asha", eta=2, minimum=0.5)
    file = StudyFile(space={"train.lr": [0.001, 0.01]}, trials=2, scheduler=halving)
    study = Study.create(workspace.prepare(), recipe, file)
    start(study, workspace)
    wait_for(study.trials)
    pid = study.controller()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: study.controller() is None)
    study.journal.write_bytes(b"")  # as if a power failure had cut it off
    start(study, workspace)
    wait_for(study.is_done)
    trials = study.trials()
    assert sorted(trial.values["train.lr"] for trial in trials) == [0.001, 0.01]
    assert sorted(trial.stop_at for trial in trials) == [0.5, 1.0]
    waits, done = sorted(trials, key=lambda trial: trial.stop_at)
    assert waits.paused and waits.paused.share == 0.5
    assert done.bits_per_byte is not None and done.rungs[0].bits_per_byte < waits.paused.bits_per_byte
    assert len(list(workspace.runs.iterdir())) == 2
    for trial, steps in ((waits, [1, 2]), (done, [1, 2, 3, 4])):  # each step once
        events = JournalReader(workspace.runs / trial.run_id / "journal.jsonl").events()
        assert [event.step for event in events if isinstance(event, Metric)] == steps
