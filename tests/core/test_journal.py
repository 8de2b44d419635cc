"""The journal: torn lines, damaged lines, replaced files; the summary and its snapshot."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    Evaluation,
    Metric,
    Note,
    Paused,
    Progress,
    Resumed,
    StageFinished,
    StageStarted,
    decode,
    encode,
)
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.runs.journal_snapshot import write_snapshot
from core.runs.summary import Summary
from core.storage.journal import JournalReader, JournalWriter, read_backwards
from core.storage.workspace import Workspace


def metric(step: int, **other: float) -> Metric:
    values = {"loss": 2.0, "lr": 1e-3, "grad_norm": 1.0, "tokens": step * 100, "seconds": step * 0.1, "progress": 0.0}
    return Metric(step=step, **{**values, **other})  # type: ignore[arg-type]


def test_a_journal_cut_at_any_byte_reads_as_its_complete_lines_and_can_be_continued(tmp_path: Path) -> None:
    lines = [encode(Note(text=text, at=0, tick=0)) for text in ("one", "two \n ünï", "three")]
    whole = b"".join(line + b"\n" for line in lines)
    for cut in range(len(whole) + 1):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(whole[:cut])
        complete = whole[:cut].count(b"\n")
        assert len(JournalReader(path).events()) == complete
        writer = JournalWriter(path)
        writer.append(lines[0])
        writer.close()
        assert len(JournalReader(path).events()) == complete + 1


@given(st.lists(st.integers(0, 60), max_size=20))
def test_a_reader_sees_every_event_once_whenever_it_reads(chunks: list[int]) -> None:
    import tempfile

    whole = b"".join(encode(metric(step)) + b"\n" for step in range(10))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        tail, seen, read_to = JournalReader(path), [], 0
        for size in [*chunks, len(whole)]:
            with path.open("ab") as file:
                file.write(whole[read_to : read_to + size])
            read_to += size
            seen += tail.events()
        assert [event.step for event in seen if isinstance(event, Metric)] == list(range(10))


def test_damaged_and_unknown_lines_are_counted_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"type":"FromTheFuture"}\n\xff\xfe\nnull\n' + encode(Note(text="x")) + b"\n")
    tail = JournalReader(path)
    assert [type(event) for event in tail.events()] == [Note]
    assert tail.unreadable == 3


def test_numpy_numbers_are_written_as_python_numbers() -> None:
    written = Progress(done=np.float64(0.5), total=np.int64(2), unit="bytes")  # type: ignore[arg-type]
    assert decode(encode(written)) == Progress(done=0.5, total=2.0, unit="bytes", at=written.at, tick=written.tick)


def test_a_file_that_was_replaced_or_cut_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(encode(metric(1)) + b"\n" + encode(metric(2)) + b"\n")
    tail = JournalReader(path)
    assert len(tail.events()) == 2
    path.write_bytes(encode(metric(3)) + b"\n")
    assert [event.step for event in tail.events() if isinstance(event, Metric)] == [3]
    other = tmp_path / "other"
    other.write_bytes(encode(metric(4)) + b"\n")
    other.replace(path)
    assert [event.step for event in tail.events() if isinstance(event, Metric)] == [4]


def test_the_newest_events_are_found_without_reading_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert list(read_backwards(path)) == []
    written = [metric(1), AttemptEnded(attempt=3, outcome="done"), metric(2)]
    padding = Note(text="x" * 20_000)  # longer than what is read at once
    lines = [encode(event) + b"\n" for event in (written[0], padding, *written[1:])]
    path.write_bytes(b"x" * 2**21 + b"\n" + b"".join(lines) + b"{torn")
    assert list(read_backwards(path)) == [*written[:0:-1], padding, written[0]]
    path.write_bytes(b"".join(lines))
    assert list(read_backwards(path)) == [*written[:0:-1], padding, written[0]]


def test_later_steps_of_an_older_attempt_do_not_count() -> None:
    summary = Summary()
    evaluation = Evaluation(step=60, loss=1, train_loss=1, bits_per_byte=1, best=True)
    for event in (AttemptStarted(attempt=1, pid=1, host="", device=""), metric(60), evaluation):
        summary.absorb(event)
    assert summary.best is not None
    summary.absorb(AttemptStarted(attempt=2, pid=2, host="", device=""))
    summary.absorb(Resumed(step=50, checkpoint=""))
    assert summary.metric is None
    assert summary.best is None


def test_rates_come_from_the_monotonic_clock_of_the_writer() -> None:
    summary = Summary()
    summary.absorb(StageStarted(stage="tokenize", at=5, tick=100))
    for second in range(6):
        clock = -1000.0 * second  # the wall clock jumps
        summary.absorb(Progress(done=50 * second, total=1000, unit="bytes", at=clock, tick=100.0 + second))
    stage = summary.stages["tokenize"]
    assert stage.rate == pytest.approx(50)
    assert stage.seconds_left == pytest.approx(15)
    assert stage.share == pytest.approx(0.25)
    summary.absorb(StageFinished(stage="tokenize", artifact="", facts={}))
    assert (summary.stages["tokenize"].share, summary.stages["tokenize"].seconds_left) == (1, None)


def test_any_event_ends_a_pause() -> None:
    summary = Summary()
    summary.absorb(Paused())
    assert summary.paused
    summary.absorb(metric(1))
    assert not summary.paused


def events_of(steps: int) -> list[AnyEvent]:
    written: list[AnyEvent] = [
        AttemptStarted(attempt=1, pid=1, host="h", device="d", tick=0),
        StageStarted(stage="train", tick=0),
    ]
    for step in range(1, steps + 1):
        written.append(metric(step, loss=1 / step))
        if step % 10 == 0:
            written.append(Evaluation(step=step, loss=2, train_loss=None, bits_per_byte=1 / step, best=True))
    return written


@pytest.mark.heavy
def test_the_summary_is_loaded_from_the_status_and_only_later_events_are_read(
    workspace: Workspace, tiny: Callable[..., Recipe]
) -> None:
    run = Run.create(workspace, tiny())
    journal, summary = JournalWriter(run.journal), Summary()
    written = events_of(400)
    for event in written[:300]:
        journal.append(encode(event))
        summary.absorb(event)
    write_snapshot(run.path / "status.json", summary, run.journal, journal.size)
    status = (run.path / "status.json").read_bytes()
    for event in written[300:]:
        journal.append(encode(event))

    def whole() -> Summary:
        summary = Summary()
        for event in JournalReader(run.journal).iter_events():
            summary.absorb(event)
        return summary

    def figures(summary: Summary) -> object:
        return (summary.metric, summary.evaluation, summary.events, summary.stages, summary.attempt)

    loaded, rest = run.load_summary()
    assert rest.offset > 0
    assert figures(loaded) == figures(msgspec.json.decode(status, type=Summary))
    for event in rest.iter_events():
        loaded.absorb(event)
    assert figures(loaded) == figures(whole())

    for damaged in (
        status.replace(b'"step":27', b'"step":28', 1),  # a figure in it
        status[:-5],
        b"",
        status.replace(b'"check":', b'"check":1', 1),
    ):
        (run.path / "status.json").write_bytes(damaged)
        loaded, rest = run.load_summary()
        assert (loaded.events, rest.offset) == (0, 0)
        for event in rest.iter_events():
            loaded.absorb(event)
        assert figures(loaded) == figures(whole())

    (run.path / "status.json").write_bytes(status)
    os.truncate(run.journal, 5000)  # as after a power failure that lost the newest journal blocks
    assert run.load_summary()[1].offset == 0
    run.journal.write_bytes(run.journal.read_bytes().replace(b"Metric", b"metric") * 20)  # another journal
    assert run.load_summary()[1].offset == 0


@pytest.mark.heavy
def test_a_missing_or_damaged_status_is_replaced_by_the_journal(
    workspace: Workspace, tiny: Callable[..., Recipe]
) -> None:
    run = Run.create(workspace, tiny())
    journal = JournalWriter(run.journal)
    for event in events_of(20):
        journal.append(encode(event))
    for write in (lambda: None, lambda: (run.path / "status.json").write_bytes(b'{"device":"\xb2"}')):
        write()
        loaded = run.summary().metric
        assert loaded is not None and loaded.step == 20
