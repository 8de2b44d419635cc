"""Successive halving: which trials wait, which are promoted, what a study keeps when it is killed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DiskError
from core.events import AttemptEnded, AttemptStarted, Evaluation, Metric, RungReached, StageStarted
from core.recipe.file import load
from core.runs import launch
from core.runs.directory import Run
from core.storage.workspace import Workspace
from core.tune import trial_runs
from core.tune.budget import seconds_of
from core.tune.controller import Controller
from core.tune.halving import comparable, finalist, next_stop, promotable, rungs
from core.tune.space import SpaceError
from core.tune.start import request_drop, request_promotion
from core.tune.study import Study
from core.tune.study_file import Scheduler, parse_study
from core.tune.tpe import importances
from core.tune.trials import Trial, TrialEnded, TrialPaused
from tests.core.test_tune_controller import SPACE, Killed, bits_of, new_study, run_to_end, runs_of
from tests.ui.fake_runs import FakeWorker, hold_locks, write_launch

ASHA = Scheduler(kind="asha")
SECONDS = 30.0
"""Of a trial that trains to its end."""


def attempts(run: Run) -> int:
    """How many attempts a run has had."""
    return max((record.attempt for record in run.launches()), default=0)


def train(run: Run, workspace: Workspace, share: bool) -> None:
    """Trains the run in no time to where it is to stop. Better trials are better at every rung."""
    del workspace, share
    attempt, stop = attempts(run) + 1, run.file.stop_at
    step = round(900 * stop)
    write_launch(run, code=0, attempt=attempt)
    events: list[Any] = [
        AttemptStarted(attempt=attempt, pid=1, host="here", device="cpu"),
        StageStarted(stage="train"),
        Metric(step=step, loss=2.0, lr=1e-3, grad_norm=1.0, tokens=100 * step, seconds=SECONDS * stop, progress=stop),
    ]
    bits = bits_of(run) + (1 - stop)
    if stop < 1:
        events += [
            RungReached(step=step, share=stop, bits_per_byte=bits, seconds=SECONDS * stop),
            AttemptEnded(attempt=attempt, outcome="stopped", what="it waits", exit_code=3),
        ]
    else:
        events += [
            Evaluation(step=step, loss=2.0, train_loss=None, bits_per_byte=bits, best=True, final=True),
            AttemptEnded(attempt=attempt, outcome="done"),
        ]
    worker = FakeWorker(run)
    worker.summary = run.summary()
    worker.write_events(*events)


def waiting(number: int, *bits: float) -> Trial:
    """A trial that waits at the last of the rungs at which it had these results."""
    shares = rungs(ASHA)[: len(bits)]
    results = [
        TrialPaused(number=number, share=share, bits_per_byte=each) for share, each in zip(shares, bits, strict=True)
    ]
    return Trial(
        number=number, run_id=str(number), values={}, seed=1, origin="sampled", stop_at=shares[-1], rungs=results
    )


def test_rungs_are_shares_of_the_training_each_eta_times_the_one_before() -> None:
    assert rungs(ASHA) == pytest.approx((1 / 9, 1 / 3))
    assert rungs(Scheduler(kind="asha", eta=2, minimum=0.125)) == (0.125, 0.25, 0.5)
    assert rungs(Scheduler()) == ()
    assert [next_stop(ASHA, share) for share in (0.0, 1 / 9, 0.2, 1 / 3)] == pytest.approx([1 / 9, 1 / 3, 1 / 3, 1])


def test_the_best_third_of_a_rung_is_promoted_of_the_highest_rung_first() -> None:
    assert promotable(ASHA, [waiting(1, 2.0), waiting(2, 3.0)]) is None
    trials = [waiting(number, bits) for number, bits in enumerate((2.0, 3.0, 1.5, 4.0, 5.0), 1)]
    assert promotable(ASHA, trials) is trials[2]
    trials[2].stop_at = 1 / 3  # it trains
    assert promotable(ASHA, trials) is None
    above = [waiting(number, 0.5, bits) for number, bits in enumerate((1.2, 1.1, 1.0), 6)]
    assert promotable(ASHA, [*trials, *above]) is above[2]
    assert promotable(Scheduler(), [*trials, *above]) is None
    assert finalist([*trials, *above]) is above[2]


def test_a_study_promotes_the_best_and_leaves_the_others_waiting(workspace: Workspace) -> None:
    study = new_study(workspace, trials=18, scheduler=ASHA)
    run_to_end(study, workspace, train)
    trials = study.trials()
    assert len(trials) == 18 and study.is_done()
    by_rung = [sum(len(trial.rungs) > rung for trial in trials) for rung in range(2)]
    done = [trial for trial in trials if trial.ended]
    assert by_rung[0] == 18 and 6 <= by_rung[1] <= 9 and 2 <= len(done) <= 4
    best = min(trials, key=lambda trial: bits_of(Run.open(workspace.runs / trial.run_id)))
    assert best.ended and best.bits_per_byte == min(trial.bits_per_byte or 9 for trial in done)
    for trial in trials:
        run = Run.open(workspace.runs / trial.run_id)
        assert (trial.paused is None) == bool(trial.ended)
        assert run.file.stop_at == trial.stop_at
        assert attempts(run) == len(trial.rungs) + bool(trial.ended)  # nothing ran twice


def test_results_are_compared_where_most_trials_have_one() -> None:
    trials = [waiting(1, 2.0), waiting(2, 1.9, 1.5), waiting(3, 1.8, 1.4)]
    trials[2].ended = TrialEnded(number=3, outcome="done", bits_per_byte=1.2)
    assert comparable(trials) == (pytest.approx(1 / 9), {1: 2.0, 2: 1.9, 3: 1.8})
    assert comparable(trials[1:]) == (pytest.approx(1 / 3), {2: 1.5, 3: 1.4})
    assert comparable(trials[2:]) == (1.0, {3: 1.2})
    assert comparable([]) == (1.0, {})


def test_tpe_learns_from_waiting_trials_and_their_importances_are_known(workspace: Workspace) -> None:
    pytest.importorskip("optuna")
    space = SPACE | {"train.weight_decay": {"low": 0.0, "high": 0.1}}
    best = []
    for sampler in ("random", "tpe"):
        study = new_study(workspace, sampler=sampler, trials=27, scheduler=ASHA, space=space)
        run_to_end(study, workspace, train)
        late = study.trials()[12:]
        best.append(sum(trial.rungs[0].bits_per_byte for trial in late) / len(late))
    assert best[1] < best[0] - 0.05
    found = importances(study)
    assert found["train.lr"] > 2 * found["train.weight_decay"]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_study_of_few_trials_still_trains_one_to_its_end(workspace: Workspace, count: int) -> None:
    study = new_study(workspace, trials=count, scheduler=ASHA)
    run_to_end(study, workspace, train)
    trials = study.trials()
    done = [trial for trial in trials if trial.bits_per_byte is not None]
    assert len(trials) == count and len(done) == 1
    assert done[0].rungs[0].bits_per_byte == min(trial.rungs[0].bits_per_byte for trial in trials)


def test_minutes_of_training_suffice_for_one_trial_to_reach_its_end(workspace: Workspace) -> None:
    for minutes in (0.5, 0.8, 2.0):  # of trials of half a minute
        study = new_study(workspace, trials=None, minutes=minutes, scheduler=ASHA)
        run_to_end(study, workspace, train)
        trials = study.trials()
        spent = sum(trial.ended.seconds if trial.ended else trial.rungs[-1].seconds for trial in trials)
        assert any(trial.bits_per_byte is not None for trial in trials)
        assert 60 * minutes - SECONDS / 3 < spent <= 60 * minutes * 1.01


def test_a_recipe_without_a_limit_costs_the_five_minutes_that_it_trains() -> None:
    tables = {"name": "study", "source": {"corpus": "stdlib"}}
    assert seconds_of(load(base=tables)) == 300
    assert seconds_of(load(base=tables, overrides=["train.minutes=0.5", "train.steps=9"])) == 30
    assert seconds_of(load(base=tables, overrides=["train.steps=9"])) == 0


def test_a_trial_is_promoted_or_dropped_by_hand(workspace: Workspace) -> None:
    study = new_study(workspace, trials=3, scheduler=ASHA)
    run_to_end(study, workspace, train)
    worst, other = sorted((trial for trial in study.trials() if trial.paused), key=lambda trial: trial.number)[:2]
    request_promotion(study, worst.number)
    request_drop(study, other.number)
    request_promotion(study, 99)
    run_to_end(study, workspace, train)
    assert list(study.control.iterdir()) == []
    after = {trial.number: trial for trial in study.trials()}
    assert after[worst.number].paused and len(after[worst.number].rungs) == 2
    dropped = after[other.number].ended
    assert dropped and (dropped.outcome, dropped.reason) == ("stopped", "it was dropped")


def test_a_trial_that_is_resumed_by_hand_trains_to_its_end(workspace: Workspace) -> None:
    study = new_study(workspace, trials=3, scheduler=ASHA)
    run_to_end(study, workspace, train)
    trial = next(trial for trial in study.trials() if trial.paused)
    run = Run.open(workspace.runs / trial.run_id)
    run.train_until(1.0)
    train(run, workspace, False)
    run_to_end(study, workspace, train)
    assert study.trials()[trial.number - 1].bits_per_byte == bits_of(run)


def test_resuming_a_run_that_waits_at_a_rung_lets_it_train_to_its_end(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "start_detached", lambda *_, **__: None)
    study = new_study(workspace, trials=1, scheduler=ASHA)
    Controller(study, workspace, lambda run, where, share: None).tick()
    (run,) = runs_of(workspace)
    launch.start(run, workspace)  # interrupted before the rung
    assert Run.open(run.path).file.stop_at == 1 / 9
    train(run, workspace, False)
    launch.start(run, workspace)
    assert Run.open(run.path).file.stop_at == 1.0


def test_a_waiting_trial_whose_directory_is_deleted_is_lost_and_never_promoted(workspace: Workspace) -> None:
    study = new_study(workspace, trials=3, scheduler=ASHA)
    controller = Controller(study, workspace, train)
    while not (found := [trial for trial in study.trials() if trial.paused]):
        controller.tick()
    shutil.rmtree(workspace.runs / found[0].run_id)
    while not controller.tick():
        pass
    ended = study.trials()[found[0].number - 1].ended
    assert ended and ended.outcome == "lost"
    assert sum(trial.bits_per_byte is not None for trial in study.trials()) == 1


def outcome(study: Study) -> list[Any]:
    return [(trial.number, trial.run_id, trial.stop_at, trial.bits_per_byte) for trial in study.trials()]


def test_a_controller_killed_at_any_moment_promotes_nothing_twice(workspace: Workspace) -> None:
    """Also when a power failure has cut the journal anywhere."""
    study = new_study(workspace, trials=20, scheduler=ASHA, parallel=2)
    rng = random.Random(7)

    def start(run: Run, where: Workspace, share: bool) -> None:
        if rng.random() < 0.3:
            raise Killed
        train(run, where, share)
        if rng.random() < 0.3:
            raise Killed

    for _ in range(400):
        try:
            run_to_end(Study.open(study.path), workspace, start)
            break
        except Killed:
            raw = study.journal.read_bytes() if study.journal.exists() else b""
            if raw and rng.random() < 0.5:
                study.journal.write_bytes(raw[: rng.randrange(len(raw))])
    trials = study.trials()
    assert len(trials) == 20 and len(list(workspace.runs.iterdir())) == 20
    assert sum(len(trial.rungs) > 0 for trial in trials) == 20
    for trial in trials:
        run = Run.open(workspace.runs / trial.run_id)
        assert trial.paused or trial.bits_per_byte is not None
        assert attempts(run) == len(trial.rungs) + bool(trial.ended)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Study, bytes]:
    """A study that has ended, and its journal."""
    workspace = Workspace(tmp_path_factory.mktemp("finished") / "home")
    study = new_study(workspace, trials=7, scheduler=ASHA)
    run_to_end(study, workspace, train)
    return workspace, study, study.journal.read_bytes()


@settings(max_examples=30)
@given(share=st.floats(0, 1))
def test_a_journal_cut_at_any_byte_is_rebuilt_from_the_runs(
    share: float, finished: tuple[Workspace, Study, bytes]
) -> None:
    workspace, study, whole = finished
    study.journal.write_bytes(whole)
    before = outcome(study)
    study.journal.write_bytes(whole[: round(share * len(whole))])

    def start(run: Run, where: Workspace, share: bool) -> None:
        raise AssertionError(f"{run.id} ran twice")

    run_to_end(Study.open(study.path), workspace, start)
    assert outcome(study) == before and study.is_done()
    assert len(runs_of(workspace)) == 7


def test_a_trial_that_trains_is_adopted_after_its_controller_is_killed(workspace: Workspace) -> None:
    """Also if nothing is left of the journal."""
    study = new_study(workspace, trials=1, scheduler=ASHA)
    Controller(study, workspace, lambda run, where, share: None).tick()
    (run,) = runs_of(workspace)

    def start(run: Run, where: Workspace, share: bool) -> None:
        raise AssertionError("it runs already")

    with hold_locks(run):
        study.journal.write_bytes(b"")
        again = Controller(Study.open(study.path), workspace, start)
        assert not again.tick() and not again.tick()
        assert [trial.run_id for trial in study.trials()] == [run.id]
    assert len(runs_of(workspace)) == 1


def test_a_full_disk_pauses_the_study_and_ends_no_trial(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    study = new_study(workspace, trials=2)
    now, full = [0.0], [True]

    def start(run: Run, where: Workspace, share: bool) -> None:
        if not full[0]:
            return train(run, where, share)
        attempt = attempts(run) + 1
        write_launch(run, code=1, attempt=attempt)
        FakeWorker(run).write_events(
            AttemptStarted(attempt=attempt, pid=1, host="here", device="cpu"),
            AttemptEnded(attempt=attempt, outcome="failed", cause="disk", what="no space left on device", exit_code=1),
        )

    controller = Controller(study, workspace, start, now=lambda: now[0])
    controller.tick()
    for _ in range(3):
        with pytest.raises(DiskError, match="no space left"):
            controller.tick()
    assert [attempts(run) for run in runs_of(workspace)] == [1]
    full[0], now[0] = False, 1000.0
    with monkeypatch.context() as patched:
        patched.setattr(trial_runs, "free_bytes", lambda _: 1000)
        with pytest.raises(DiskError, match="the disk is full: 0 MiB are free"):
            controller.tick()
    while not controller.tick():
        pass
    assert [trial.ended and trial.ended.outcome for trial in study.trials()] == ["done", "done"]


def test_a_study_file_edited_into_nonsense_leaves_the_settings_in_force(workspace: Workspace) -> None:
    study = new_study(workspace, trials=1, scheduler=ASHA)
    controller = Controller(study, workspace, train)
    controller.tick()
    file = study.path / "study.toml"
    good = file.read_text()
    file.write_text(good.replace('kind = "asha"', 'kind = "halving"'))
    assert not controller.tick() and "halving" in controller.problem
    again = Study.open(study.path)  # it can still be shown, and continued
    assert (again.space, again.file.scheduler, again.file.trials) == (study.space, ASHA, 1)
    file.write_text(good.replace("trials = 1", "trials = 2"))
    while not controller.tick():
        pass
    assert not controller.problem and len(study.trials()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind = 'asha'\neta = 1", "eta"),
        ("kind = 'asha'\nminimum = 0.5", "no rung is between scheduler.minimum = 0.5 and the end"),
        ("kind = 'asha'\nminimum = 0.02", "too small for one evaluation: 2% of 0.5 minutes"),
        ("kind = 'halving'", "halving"),
        ("rungs = 3", "rungs"),
    ],
)
def test_a_scheduler_that_cannot_work_is_refused(workspace: Workspace, text: str, message: str) -> None:
    study = new_study(workspace)
    tables = f"trials = 3\n[space.train]\nlr = [0.1, 0.01]\n[scheduler]\n{text}\n"
    with pytest.raises(SpaceError, match=message):
        parse_study(tables, study.recipe, str(Path("study.toml")))
