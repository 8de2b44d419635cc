"""curves.json: equal to the curves of the whole journal, of bounded size, and ignored if damaged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import (
    AnyEvent,
    AttemptStarted,
    CheckpointSaved,
    Evaluation,
    GeneratedSample,
    Metric,
    Note,
    Paused,
    Resumed,
    StageFinished,
    StageStarted,
    encode,
)
from core.recipe.schema import Recipe
from core.runs import curves as module
from core.runs.curves import MAX_EVENTS, Curves
from core.runs.directory import Run
from core.runs.journal_snapshot import write_snapshot
from core.runs.recorder import RunRecorder
from core.runs.series import CAPACITY, Series
from core.storage.journal import JournalReader, JournalWriter
from core.storage.workspace import Workspace
from llmtui.cli.commands import watch
from llmtui.cli.main import run as llmtui
from llmtui.view.history import History
from tests.core.test_worker import TRAIN, metric, run_worker
from tests.ui.fake_runs import finished_run

pytestmark = pytest.mark.heavy

Make = Callable[..., Recipe]
MAX_FILE_BYTES = 10**6


def displayed(history: History) -> object:
    """All that a screen displays of a run."""
    curves = history.curves
    summary = msgspec.structs.replace(curves.summary, journal_offset=None)
    figures = msgspec.to_builtins(msgspec.structs.replace(curves, journal_offset=None, summary=summary))
    return figures, history.events, history.unit


def open_history(run: Run) -> tuple[History, int]:
    """The history of the run as a screen loads it, and the offset in the journal from which events were read."""
    history = History(run)
    history.curves, reader = run.load_curves()
    start = reader.offset
    history.absorb(reader.iter_events())
    return history, start


def write(run: Run, events: list[AnyEvent], snapshot_at: int) -> None:
    """Write a journal of `events`, and curves.json of the first `snapshot_at` of them."""
    journal, curves = JournalWriter(run.journal), Curves()
    for number, event in enumerate(events):
        if number == snapshot_at:
            write_snapshot(run.path / "curves.json", curves, run.journal, journal.size)
        journal.append(encode(event))
        curves.absorb(event)
    journal.close()


numbers = st.floats(0, 1e31)
steps = st.integers(0, 60)
journal_events = st.one_of(
    st.builds(
        Metric,
        step=steps,
        loss=numbers,
        lr=numbers,
        grad_norm=numbers,
        tokens=st.integers(0, 10**6),
        seconds=st.floats(0, 1e6),
        progress=st.floats(0, 1),
    ),
    st.builds(
        Evaluation,
        step=steps,
        loss=numbers,
        train_loss=st.none(),
        bits_per_byte=numbers,
        best=st.booleans(),
        final=st.booleans(),
    ),
    st.builds(Resumed, step=steps, checkpoint=st.just("c")),
    st.builds(CheckpointSaved, step=steps, path=st.just("c"), bytes=st.just(5), seconds=st.just(1.0)),
    st.builds(Note, text=st.text(max_size=3)),
    st.builds(Paused),
    st.just(AttemptStarted(attempt=2, pid=1, host="", device="")),
    st.just(StageStarted(stage="tokenize")),
    st.just(StageFinished(stage="tokenize", artifact="", facts={"bytes_per_token": 3.3})),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(journal_events, max_size=80), st.data())
def test_readers_with_and_without_the_file_display_the_same(events: list[AnyEvent], data: st.DataObject) -> None:
    import core.runs.series as series

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(series, "CAPACITY", 8)  # so that buckets merge
        patch.setattr(module, "MAX_EVENTS", 5)
        run = Run(Path(folder), None)  # type: ignore[arg-type]
        write(run, events, data.draw(st.integers(0, len(events) - 1)) if events else 0)
        begun, start = open_history(run)
        (run.path / "curves.json").unlink(missing_ok=True)
        whole, first = open_history(run)
        assert first == 0
        assert start or not events or begun.summary.events == len(events)
        assert displayed(begun) == displayed(whole)


def test_only_later_events_are_read_and_a_damaged_file_is_ignored(workspace: Workspace, tiny: Make) -> None:
    run = Run.create(workspace, tiny())
    write(run, [TRAIN, *(metric(step) for step in range(1, 3000))], 2500)
    kept = (run.path / "curves.json").read_bytes()
    begun, start = open_history(run)
    assert start > run.journal.stat().st_size * 0.8
    whole = displayed(begun)
    for damaged in (
        None,
        b"",
        b"{}",
        b"\xb2" + kept[1:],
        kept[:-9],
        kept.replace(b'"form":2', b'"form":3'),
        kept.replace(b'"span":4', b'"span":8'),
        kept.replace(b'"count":[3,4', b'"count":[4,4'),
        b'{"form":2,"summary":{}}',
    ):
        if damaged is None:
            (run.path / "curves.json").unlink()
        else:
            assert damaged != kept
            (run.path / "curves.json").write_bytes(damaged)
        opened, start = open_history(run)
        assert start == 0
        assert displayed(opened) == whole
    other = Run.create(workspace, tiny())
    write(other, [TRAIN, *(metric(step) for step in range(5, 9000))], 0)
    (other.path / "curves.json").write_bytes(kept)  # of another journal
    assert open_history(other)[1] == 0


def test_the_file_stays_small_and_keeps_the_events_of_old_attempts() -> None:
    curves = Curves()
    curves.absorb(AttemptStarted(attempt=1, pid=1, host="", device="a machine"))
    for step in range(1, 40_000):
        curves.absorb(metric(step))
        if step % 20 == 0:
            curves.absorb(Evaluation(step=step, loss=1 / 3, train_loss=1 / 3, bits_per_byte=1 / 3, best=True))
            curves.absorb(
                GeneratedSample(step=step, prompt="p", text="t" * 200, temperature=1, top_k=0, top_p=1, seed=0),
            )
            curves.absorb(CheckpointSaved(step=step, path="c", bytes=1, seconds=1))
    assert len(encode(curves)) < MAX_FILE_BYTES
    kept = curves.newest()
    assert len(kept) == 3 * MAX_EVENTS + 1
    assert kept[0] == AttemptStarted(attempt=1, pid=1, host="", device="a machine", at=kept[0].at, tick=kept[0].tick)
    newest: list[Any] = kept[-3:]
    assert [event.step for event in newest] == [39_980] * 3


def test_watch_prints_the_same_from_the_file_as_from_the_journal(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(workspace, "long", 400)
    assert llmtui(["watch", "--plain"]) == 0
    whole = capsys.readouterr()
    events = list(JournalReader(run.journal).iter_events())
    run.journal.unlink()
    write(run, events, len(events) - 30)
    monkeypatch.setattr(watch, "QUICK_READ_BYTES", 0)
    read: list[AnyEvent] = []
    real = JournalReader.iter_events
    monkeypatch.setattr(
        JournalReader, "iter_events", lambda reader: (read.append(event) or event for event in real(reader))
    )
    assert llmtui(["watch", "--plain"]) == 0
    assert capsys.readouterr() == whole
    assert len(read) == 30
    monkeypatch.setattr(module, "MAX_EVENTS", 2)
    run.journal.unlink()
    write(run, events, len(events) - 30)
    assert llmtui(["watch", "--plain"]) == 0
    output = capsys.readouterr()
    assert "watch --json" in output.err
    assert output.out.splitlines()[-6:] == whole.out.splitlines()[-6:]
    assert "train       done, 400 steps" in output.out  # without its start event the duration is unknown


def test_non_finite_steps_are_recorded_over_the_whole_curve() -> None:
    series = Series()
    for step in range(10**5):
        series.add(step, float("nan"))
    assert len(series.broken) <= CAPACITY
    assert max(b - a for a, b in zip([0, *series.broken], [*series.broken, 10**5], strict=True)) <= series.gap <= 256
    series.truncate_after(5000)
    assert max(series.broken) <= 5000


def test_a_worker_writes_the_curves_and_the_next_one_starts_from_them(
    workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(workspace, tiny())
    bad = Metric(step=3, loss=float("nan"), lr=1, grad_norm=1, tokens=1, seconds=1, progress=0)
    run_worker(
        run,
        [TRAIN, metric(1), metric(2), bad, metric(4), CheckpointSaved(step=4, path="c", bytes=1, seconds=1)],
        monkeypatch,
    )
    begun, start = open_history(run)
    assert start == run.journal.stat().st_size
    read: list[AnyEvent] = []
    monkeypatch.setattr(Curves, "absorb", lambda self, event: read.append(event))
    recorder = RunRecorder(run, None)  # type: ignore[arg-type]
    recorder._journal.close()
    assert read == []
    monkeypatch.undo()
    (run.path / "curves.json").unlink()
    assert displayed(open_history(run)[0]) == displayed(begun)  # the worker ignores a line that readers cannot decode
    assert begun.curves.loss.index == [1, 2, 4]
