"""When a run makes no progress: what it does decides how long it may be silent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psutil
import pytest

from core.events import (
    AnyEvent,
    CheckpointSaved,
    Evaluation,
    Metric,
    Note,
    Progress,
    StageFinished,
    StageStarted,
)
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.runs.launch import kill, start, wait_until_ended
from core.runs.stall import BETWEEN_STEPS_SECONDS, FIRST_STEP_SECONDS, MIN_SECONDS, STEP_FACTOR, find_stall
from core.runs.summary import Summary
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from llmtui.cli.run_output import EventFormatter, StallReporter
from llmtui.view.run_snapshot import take_snapshot
from llmtui.view.run_text import stall_text
from tests.ui.fake_runs import (
    FakeWorker,
    events_before_training,
    hold_locks,
    make_run,
    reading,
    training_events,
    write_launch,
)
from tests.waiting import PATIENCE, wait_for

EVALUATING = Progress(done=1, total=9, unit="tokens", of="evaluation")
SAVING = Progress(done=0, total=None, unit="bytes", of="checkpoint")
SAMPLING = Progress(done=0, total=1, unit="samples", of="sample")


def steps(seconds: float, count: int = 20) -> list[AnyEvent]:
    """Steps that take so many seconds each."""
    return [
        Metric(step=n, loss=2.0, lr=1e-3, grad_norm=1.0, tokens=512 * n, seconds=seconds * n, progress=n / 1000)
        for n in range(1, count + 1)
    ]


def after(*events: AnyEvent, stage: str = "train") -> Summary:
    """The summary of a run that trains, after these events."""
    summary = Summary()
    for event in (StageStarted(stage=stage), *events):
        summary.absorb(event)
    return summary


@pytest.mark.parametrize(("seconds", "limit"), [(0.3, MIN_SECONDS), (60.0, STEP_FACTOR * 60.0), (17.0, MIN_SECONDS)])
def test_a_step_is_late_by_what_steps_usually_take(seconds: float, limit: float) -> None:
    summary = after(*steps(seconds))
    assert find_stall(summary, limit - 1) is None
    stall = find_stall(summary, limit + 1)
    assert stall is not None
    assert stall.usual == pytest.approx(seconds)


@pytest.mark.parametrize("begun", [EVALUATING, SAVING, SAMPLING])
def test_what_is_done_between_steps_may_take_longer_than_a_step(begun: Progress) -> None:
    summary = after(*steps(0.3), begun, reading(), Note(text="a note says nothing about it"))
    assert find_stall(summary, BETWEEN_STEPS_SECONDS - 1) is None
    stall = find_stall(summary, BETWEEN_STEPS_SECONDS + 1)
    assert stall is not None
    assert (stall.doing, stall.usual) == (begun.of, None)


@pytest.mark.parametrize(
    "ended",
    [
        CheckpointSaved(step=20, path="x", bytes=1, seconds=1.0),
        Evaluation(step=20, loss=1.0, train_loss=None, bits_per_byte=1.0, best=True),
        steps(0.3, 21)[-1],
    ],
)
def test_after_that_a_step_is_expected_again(ended: AnyEvent) -> None:
    assert find_stall(after(*steps(0.3), SAVING, ended), MIN_SECONDS + 1) is not None


def test_the_first_step_of_an_attempt_may_take_a_quarter_of_an_hour() -> None:
    for summary in (after(), after(*steps(0.3), StageStarted(stage="train"))):
        assert find_stall(summary, FIRST_STEP_SECONDS - 1) is None
        stall = find_stall(summary, FIRST_STEP_SECONDS + 1)
        assert stall is not None
        assert stall_text(stall) == "no first step for 15m01s"


def test_the_data_stages_report_progress_too() -> None:
    summary = after(Progress(done=1, total=2, unit="bytes"), stage="preprocess")
    stall = find_stall(summary, BETWEEN_STEPS_SECONDS + 1)
    assert stall is not None
    assert stall_text(stall) == "no progress of cleaning for 10m01s"
    assert find_stall(after(StageFinished(stage="train", artifact="x", facts={}), stage="sample"), 500.0) is None


def test_the_time_is_beside_the_usual_one() -> None:
    for seconds, text in ((0.3, "0.3s"), (0.04, "40 ms")):
        stall = find_stall(after(*steps(seconds)), 360.0)
        assert stall is not None
        assert stall_text(stall) == f"no step for 6m00s (usual {text})"


def test_the_usual_time_is_that_of_lately() -> None:
    summary = after(
        *steps(0.3, 1000),
        *[
            Metric(
                step=1000 + n,
                loss=2.0,
                lr=1e-3,
                grad_norm=1.0,
                tokens=512 * (1000 + n),
                seconds=300 + 2.0 * n,
                progress=0.5,
            )
            for n in range(1, 20)
        ],
    )
    assert summary.step_seconds == pytest.approx(2.0)


def test_the_command_line_says_so_once_and_after_twice_the_time(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(workspace, "quiet")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 20, 4000))
    formatter = EventFormatter()
    for event in JournalReader(run.journal).iter_events():
        formatter.summary.absorb(event)
    reporter = StallReporter(run, formatter)

    def said(age: float) -> str:
        os.utime(run.journal, (time.time() - age,) * 2)
        reporter.check()
        return capsys.readouterr().err

    with hold_locks(run):
        assert said(60) == ""
        assert "no step for 10m00s (usual 0.2s); llmtui logs" in said(600)
        assert said(900) == ""
        assert "no step for 20m0" in said(1201)
        assert command_line(["ls"]) == 0
        row = capsys.readouterr().out
        assert "(usual 0.2s)" in row
        assert "tok/s" not in row
    assert said(9000) == "", "it is not running"


@pytest.mark.cluster
def test_a_rank_that_hangs_is_noticed_and_may_go_on(
    workspace: Workspace, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.runs.stall.MIN_SECONDS", 3.0)
    run = Run.create(workspace, tiny("train.steps=1000000", "train.evaluate_every=100000"), 2)
    start(run, workspace, share=True)

    def step() -> int:
        metric = run.summary().metric
        return metric.step if metric else 0

    wait_for(lambda: step() > 50, what="fifty steps")
    writer = run.writer()
    assert writer
    family = psutil.Process(writer).parent().children()
    ranks = [each for each in family if each.cmdline()[3:5] == ["core.worker", str(run.path)]]
    [other] = [rank for rank in ranks if rank.pid != writer]
    other.suspend()
    try:
        wait_for(lambda: take_snapshot(run).stall is not None, what="the stall")
        stall, stopped_at = take_snapshot(run).stall, step()
        assert stall is not None
        assert stall.usual is not None
    finally:
        other.resume()
    wait_for(lambda: step() > stopped_at, what="a further step")
    assert take_snapshot(run).stall is None
    kill(run)
    assert wait_until_ended(run, PATIENCE)
