"""The worker and several attempts at one run: which earlier events count, and stops before the first step."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

from core.errors import DiskError, LlmtuiError
from core.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    Evaluation,
    Event,
    GeneratedSample,
    Metric,
    ModelInfo,
    Progress,
    Resumed,
    StageStarted,
)
from core.recipe.schema import Recipe
from core.runs.control import request_stop
from core.runs.directory import Run
from core.runs.series import Series
from core.runs.summary import Summary
from core.storage.journal import JournalReader
from core.storage.locks import Lock
from core.storage.workspace import Workspace
from core.worker import STOPPED, Worker
from llmtui.view.history import History
from llmtui.view.summary_text import describe_progress

pytestmark = pytest.mark.heavy

Make = Callable[..., Recipe]

SHAPE = ModelInfo(parameters=1, flops_per_token=1, vocabulary=1, tokens=1)
TRAIN = StageStarted(stage="train")


def metric(step: int) -> Metric:
    return Metric(step=step, loss=3, lr=1e-3, grad_norm=1, tokens=100 * step, seconds=step, progress=step / 100)


def evaluation(step: int, *, final: bool = False) -> Evaluation:
    return Evaluation(step=step, loss=3, train_loss=3, bits_per_byte=2, best=not final, final=final)


def evaluating(done: float, tick: float, *, final: bool = True) -> Progress:
    return Progress(done=done, total=100, unit="tokens", of="final evaluation" if final else "evaluation", tick=tick)


ATTEMPT: list[AnyEvent] = [
    *(TRAIN, SHAPE, evaluation(0), *(metric(step) for step in range(1, 8))),
    GeneratedSample(step=7, prompt="", text="", temperature=1, top_k=0, top_p=1, seed=0),
    CheckpointSaved(step=7, path="step-7", bytes=5, seconds=1),
]


def run_worker(run: Run, events: list[AnyEvent], monkeypatch: pytest.MonkeyPatch, attempt: int = 1) -> int:
    """Run a worker whose pipeline emits `events`. Returns its exit code."""

    def pipeline(*_: object, **__: object) -> Generator[Event, object, None]:
        for event in events:  # noqa: UP028 - a list takes no commands
            yield event

    monkeypatch.setattr("core.pipeline.pipeline", pipeline)
    lock = Lock.acquire(run.path / "writer.lock")
    assert lock is not None
    with lock:
        return Worker(run, attempt, lock).run()


def test_an_attempt_without_a_checkpoint_discards_the_steps_of_the_one_before(
    workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(workspace, tiny())
    run_worker(run, ATTEMPT, monkeypatch)
    assert not [event for event in JournalReader(run.journal).events() if isinstance(event, Resumed)]
    run_worker(run, ATTEMPT[:6], monkeypatch, attempt=2)
    events = JournalReader(run.journal).events()
    assert [(event.step, event.checkpoint) for event in events if isinstance(event, Resumed)] == [(0, "")]
    history, summary = History(run), Summary()
    history.absorb(events)
    for event in events:
        summary.absorb(event)
    assert (history.curves.loss.index, history.curves.val.index) == ([1, 2, 3], [0])
    assert summary.metric is not None
    assert (summary.metric.step, summary.metric.tokens, summary.metric.seconds) == (3, 300, 3)
    assert summary.sample is None
    assert summary.saved is None


def test_an_attempt_from_a_checkpoint_emits_one_resumed_event(
    workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(workspace, tiny())
    run_worker(run, ATTEMPT, monkeypatch)
    run_worker(run, [TRAIN, Resumed(step=4, checkpoint="step-4"), SHAPE, metric(5)], monkeypatch, attempt=2)
    assert [event.step for event in JournalReader(run.journal).events() if isinstance(event, Resumed)] == [4]
    summary = run.summary()
    assert summary.saved is not None
    assert (summary.saved.step, summary.saved.path) == (4, "step-4")
    assert summary.sample is None


def test_a_restart_without_a_resumed_event_is_recognised_in_older_journals(workspace: Workspace, tiny: Make) -> None:
    history = History(Run.create(workspace, tiny()))
    history.absorb(
        [*ATTEMPT, AttemptStarted(attempt=2, pid=1, host="", device=""), TRAIN, SHAPE, evaluation(0), metric(1)]
    )
    assert history.curves.loss.index == [1]
    assert history.curves.val.index == [0]
    assert history.summary.sample is None


def test_truncating_a_long_series_removes_all_points() -> None:
    series = Series()
    for step in range(5000):
        series.add(step, 1.0)
    assert series.span > 1
    series.truncate_after(-1)
    assert not series.means()
    series.add(0, 3.0)
    assert series.means()[0][1] == 3


@pytest.mark.parametrize("first", [evaluation(0), evaluating(5, 1, final=False)])
def test_a_stop_before_the_first_step_ends_the_worker(
    workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch, first: AnyEvent
) -> None:
    run = Run.create(workspace, tiny())
    request_stop(run)
    assert run_worker(run, [TRAIN, first, *ATTEMPT[2:]], monkeypatch) == STOPPED
    events = JournalReader(run.journal).events()
    assert isinstance(events[-1], AttemptEnded)
    assert not [event for event in events if isinstance(event, Metric)]


def test_no_event_follows_the_end_event(workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.runs.recorder.READ_EVERY", 0.0)
    run = Run.create(workspace, tiny())
    run_worker(run, ATTEMPT, monkeypatch)
    assert isinstance(JournalReader(run.journal).events()[-1], AttemptEnded)


def test_the_final_evaluation_shows_progress_and_time_left() -> None:
    summary = Summary()
    for event in (TRAIN, evaluation(0), metric(100), *(evaluating(5 * second, second) for second in range(6))):
        summary.absorb(event)
    assert summary.current_stage.share == pytest.approx(0.25)
    assert summary.current_stage.seconds_left == pytest.approx(15)
    assert "evaluating the held-out text, 25%, 15s left" in describe_progress(summary)
    summary.absorb(evaluation(100, final=True))
    assert summary.evaluating is None


def test_an_evaluation_between_steps_does_not_replace_the_progress_of_training() -> None:
    summary = Summary()
    for event in (TRAIN, metric(50), evaluating(5, 1, final=False)):
        summary.absorb(event)
    assert summary.current_stage.share == pytest.approx(0.5)


@pytest.mark.parametrize(("error", "cause"), [(DiskError("no space left"), "disk"), (LlmtuiError("no"), "")])
def test_the_last_event_says_whether_the_disk_was_the_cause(
    error: LlmtuiError, cause: str, workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pipeline(*_: object, **__: object) -> Generator[Event, object, None]:
        yield TRAIN
        raise error

    monkeypatch.setattr("core.pipeline.pipeline", pipeline)
    run = Run.create(workspace, tiny())
    lock = Lock.acquire(run.path / "writer.lock")
    assert lock is not None
    with lock:
        assert Worker(run, 1, lock).run() == 1
    ended = run.end_event()
    assert ended is not None and (ended.outcome, ended.cause) == ("failed", cause)
