"""Runs as real processes: stages, stop, pause, resume, and recovery from killed processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.checkpoints import readable_checkpoints
from core.events import AttemptStarted, Evaluation, GeneratedSample, Metric, Note, StageSkipped
from core.jobs.prepare import prepare
from core.recipe.schema import Recipe
from core.run_names import RunNotFoundError
from core.runs.control import request_checkpoint, request_pause, request_sample, request_stop, request_unpause
from core.runs.directory import Run, RunState
from core.runs.errors import InvalidRunError, RunActiveError
from core.runs.launch import kill, start, wait_until_ended
from core.runs.lookup import find_run
from core.storage.artifact import Artifact
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from core.train.commands import GenerateSample
from tests.conftest import wait_for_state
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.heavy

Make = Callable[..., Recipe]
Launch = Callable[[Recipe], Run]


def steps(run: Run) -> list[int]:
    return [event.step for event in JournalReader(run.journal).events() if isinstance(event, Metric)]


def reach(run: Run, step: int) -> None:
    """Return once the run has journalled `step`."""
    reader = JournalReader(run.journal)
    wait_for(
        lambda: any(isinstance(event, Metric) and event.step >= step for event in reader.events()),
        what=f"{run.id} at step {step}: {run.state()}",
    )


def test_a_run_goes_through_all_stages_and_a_second_one_skips_the_data(launched: Launch, tiny: Make) -> None:
    first = launched(tiny("train.steps=20"))
    wait_for_state(first, RunState.DONE, RunState.FAILED)
    assert first.state() is RunState.DONE
    summary = first.summary()
    assert {stage.state for stage in summary.stages.values()} == {"done"}
    assert summary.stages["download"].facts["documents"] == 40
    assert summary.compression_baselines.keys() == {"gzip -9", "xz -9"}
    assert summary.evaluation is not None and summary.evaluation.final
    samples = Artifact.open(first.path / "samples", verify=True)
    assert samples.facts == {"samples": 1}

    second = launched(tiny("train.steps=20"))
    wait_for_state(second, RunState.DONE, RunState.FAILED)
    skipped = [event.stage for event in JournalReader(second.journal).events() if isinstance(event, StageSkipped)]
    assert skipped == ["download", "preprocess", "tokenize"]


def test_another_learning_rate_does_not_tokenize_again_another_vocabulary_does(
    workspace: Workspace, tiny: Make
) -> None:
    def skipped(*overrides: str) -> list[str]:
        events = prepare(tiny("train.steps=2", *overrides), workspace)
        return [event.stage for event in events if isinstance(event, StageSkipped)]

    assert skipped() == []
    assert skipped("train.lr=0.01") == ["download", "preprocess", "tokenize"]
    assert skipped("tokenize.size=280") == ["download", "preprocess"]


def test_stop_saves_and_resume_finishes(launched: Launch, tiny: Make, workspace: Workspace) -> None:
    run = launched(tiny("train.steps=2000"))
    reach(run, 30)
    request_stop(run)
    wait_for_state(run, RunState.STOPPED)
    stopped_at = steps(run)[-1]
    assert readable_checkpoints(run.checkpoints)[-1].facts["step"] == stopped_at < 2000
    start(run, workspace)
    reach(run, stopped_at + 20)
    assert kill(run, sig=signal.SIGTERM)  # as at a system shutdown
    wait_for_state(run, RunState.STOPPED)
    assert readable_checkpoints(run.checkpoints)[-1].facts["step"] == steps(run)[-1]
    assert steps(run) == list(range(1, len(steps(run)) + 1))


def test_pause_holds_the_step_and_costs_no_training_time(launched: Launch, tiny: Make) -> None:
    run = launched(tiny("train.steps=100000"))
    reach(run, 10)
    request_pause(run)
    wait_for(lambda: run.summary().paused)
    assert run.state() is RunState.PAUSED
    held = steps(run)
    with pytest.raises(subprocess.TimeoutExpired):  # a fixed wait: the claim is that nothing happens
        subprocess.run([sys.executable, "-c", "import time; time.sleep(9)"], timeout=0.5, check=False)
    assert steps(run) == held
    request_unpause(run)
    reach(run, held[-1] + 10)
    assert run.state() is RunState.RUNNING


def test_sigterm_stops_a_paused_run_with_a_checkpoint(launched: Launch, tiny: Make) -> None:
    run = launched(tiny("train.steps=100000"))
    reach(run, 10)
    request_pause(run)
    wait_for(lambda: run.summary().paused)
    assert kill(run, sig=signal.SIGTERM)
    wait_for_state(run, RunState.STOPPED)
    assert readable_checkpoints(run.checkpoints)[-1].facts["step"] == steps(run)[-1]


def test_requested_checkpoints_and_samples_are_made(launched: Launch, tiny: Make) -> None:
    run = launched(tiny("train.steps=100000", "train.checkpoint_every=1000000", "train.sample_every=1000000"))
    reach(run, 5)
    request_checkpoint(run)
    request_sample(run, GenerateSample(prompt="the old", temperature=0, seed=9))
    wait_for(lambda: readable_checkpoints(run.checkpoints))
    reader = JournalReader(run.journal)
    wait_for(
        lambda: any(isinstance(e, GeneratedSample) and e.prompt == "the old" and e.seed == 9 for e in reader.events())
    )


def test_a_second_start_of_a_running_run_is_refused(launched: Launch, tiny: Make, workspace: Workspace) -> None:
    run = launched(tiny("train.steps=100000"))
    with pytest.raises(RunActiveError):
        start(run, workspace)
    with pytest.raises(RunActiveError):
        run.remove()
    wait_for(run.writer)
    worker = subprocess.run(
        [sys.executable, "-P", "-m", "core.worker", str(run.path), "9"],
        check=False,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert worker.returncode == 75


@pytest.mark.parametrize("victims", ["writer", "supervisor", pytest.param("both", marks=pytest.mark.slow)])
def test_a_run_whose_processes_are_killed_reports_its_state_and_finishes(
    launched: Launch, tiny: Make, workspace: Workspace, victims: str
) -> None:
    rng = random.Random(victims)
    run = launched(tiny("train.steps=400", "train.checkpoint_every=25"))
    for _ in range(2):
        reach(run, (steps(run) or [0])[-1] + rng.randrange(5, 60))
        supervisor, writer = run.supervisor(), run.writer()
        if victims in ("supervisor", "both") and supervisor:
            os.kill(supervisor, signal.SIGKILL)
            wait_for(lambda: run.supervisor() is None)
        if victims == "supervisor":
            assert run.state() in (RunState.RUNNING, RunState.DONE)  # the orphaned worker continues
        if victims in ("writer", "both") and writer:
            os.kill(writer, signal.SIGKILL)
        if victims == "both":
            wait_for(lambda: run.writer() is None)
            assert run.state() is RunState.INTERRUPTED
        if victims != "writer" and run.state() is not RunState.DONE:
            start(run, workspace)
    wait_for_state(run, RunState.DONE)
    seen = steps(run)
    assert set(seen) == set(range(1, 401))
    final = [e for e in JournalReader(run.journal).events() if isinstance(e, Evaluation) and e.final]
    assert final[-1].step == 400


def test_a_worker_that_keeps_dying_is_not_restarted_forever(launched: Launch, tiny: Make, workspace: Workspace) -> None:
    run = Run.create(workspace, tiny("train.steps=100000", "train.checkpoint_every=100000"))
    start(run, workspace)
    for _ in range(4):
        wait_for(lambda: run.writer() is not None or run.state() is RunState.FAILED)
        kill(run, sig=signal.SIGKILL)
        wait_for(lambda: run.writer() is None)
    wait_for_state(run, RunState.FAILED)
    record = run.exit_record()
    assert record is not None
    assert (record.code, record.gave_up) == (-9, True)


def test_an_error_is_journalled_as_a_sentence_without_traceback(launched: Launch, tiny: Make, corpus: Path) -> None:
    run = launched(tiny("train.steps=20", "model.block_size=1000000"))
    wait_for_state(run, RunState.FAILED)
    ended = run.end_event()
    assert ended is not None
    assert "1,000,001" in ended.what
    assert "block_size" in ended.todo
    assert ended.exit_code == 1
    assert "Traceback" not in run.log.read_text()


def test_the_last_intact_checkpoint_is_used_when_the_newest_is_damaged(
    launched: Launch, tiny: Make, workspace: Workspace
) -> None:
    run = launched(tiny("train.steps=100"))
    reach(run, 50)
    request_stop(run)
    wait_for_state(run, RunState.STOPPED)
    newest = readable_checkpoints(run.checkpoints)[-1]
    os.truncate(newest.path / "model.safetensors", 1000)
    start(run, workspace)
    wait_for_state(run, RunState.DONE)
    notes = [event.text for event in JournalReader(run.journal).events() if isinstance(event, Note)]
    assert any(newest.path.name in note for note in notes)


def test_a_run_survives_the_closing_of_its_terminal(tiny: Make, workspace: Workspace, tmp_path: Path) -> None:
    import pty

    run = Run.create(workspace, tiny("train.steps=100000"))
    code = """
import sys, time
from pathlib import Path
from core.runs.directory import Run
from core.runs.launch import start
from core.storage.workspace import Workspace
start(Run.open(Path(sys.argv[1])), Workspace())
print("up", flush=True)
time.sleep(60)
"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", code, str(run.path)])
    wait_for(lambda: b"up" in os.read(terminal, 1000))
    os.close(terminal)  # the kernel hangs up
    os.waitpid(pid, 0)
    try:
        reach(run, 5)
        assert run.state() is RunState.RUNNING
        attempts = [event.attempt for event in JournalReader(run.journal).events() if isinstance(event, AttemptStarted)]
        assert attempts == [1]
    finally:
        request_stop(run)
        wait_until_ended(run, PATIENCE)


def test_runs_are_found_by_id_name_or_prefix_and_unreadable_ones_do_not_hide_others(
    workspace: Workspace, tiny: Make
) -> None:
    with pytest.raises(RunNotFoundError, match="no runs yet"):
        find_run(workspace)
    run = Run.create(workspace, tiny())
    (workspace.runs / "20990101-000000-broken-ffff").mkdir()
    (workspace.runs / "20990101-000000-newer-ffff").mkdir()
    (workspace.runs / "20990101-000000-newer-ffff" / "run.json").write_text('{"schema": 99}')
    for query in (None, run.id, "tiny", "tin", run.id[:20]):
        assert find_run(workspace, query).id == run.id
    assert run.state() is RunState.CREATED
    with pytest.raises(RunNotFoundError) as caught:
        find_run(workspace, "tinny")
    assert "'tiny'" in caught.value.sentence()
    for blank in ("", " ", "\t\n"):  # a prefix of every name
        with pytest.raises(RunNotFoundError, match="is empty"):
            find_run(workspace, blank)
    with pytest.raises(InvalidRunError, match="newer version"):
        Run.open(workspace.runs / "20990101-000000-newer-ffff")
