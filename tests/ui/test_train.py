"""The Train screen shows the figures of the selected run, with one unit and current readings."""

from __future__ import annotations

import re

import msgspec
import pytest
from textual.app import App

from core.events import AttemptEnded, AttemptStarted, Gpu, Note, Progress, StageStarted
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.widgets.event_log import EventLog
from llmtui.tui.widgets.hardware import HardwarePane
from llmtui.tui.widgets.panels import figure_in
from llmtui.view.history import History
from tests.ui.fake_runs import (
    SECONDS_PER_STEP,
    FakeWorker,
    events_before_training,
    finished_run,
    hold_locks,
    make_run,
    metric,
    reading,
    training_events,
    write_launch,
)
from tests.ui.pilot import screen_text, until


def braille(app: App[None]) -> list[str]:
    return [row for row in screen_text(app).splitlines() if any(0x2800 < ord(char) < 0x2900 for char in row)]


@pytest.mark.heavy
async def test_the_chart_shows_the_selected_run_also_after_runs_without_a_curve(workspace: Workspace) -> None:
    long, short = finished_run(workspace, "long", 300), finished_run(workspace, "short", 30)
    empty = make_run(workspace, "empty")
    app = Workbench(workspace, open_run=long.id)
    async with app.run_test(size=(120, 40)) as pilot:

        async def turn_to(run: object, name: str) -> None:
            app.session.select(run)  # type: ignore[arg-type]
            app.session.watcher.wake()
            await until(pilot, lambda: name in screen_text(app).splitlines()[0])
            await until(
                pilot, lambda: app.session.watcher.history is not None and app.session.watcher.history.caught_up
            )

        await turn_to(short, "short")
        await until(pilot, lambda: "step 30" in screen_text(app) and braille(app))
        await pilot.pause(0.3)
        of_short = braille(app)
        await turn_to(long, "long")
        await until(pilot, lambda: braille(app) not in ([], of_short))
        await turn_to(empty, "empty")
        await until(pilot, lambda: not braille(app) and "stages" in screen_text(app))
        await turn_to(short, "short")
        await until(pilot, lambda: braille(app) == of_short)


@pytest.mark.heavy
async def test_selecting_another_run_resets_the_scroll_position(workspace: Workspace) -> None:
    one, two = finished_run(workspace, "one", 1200), finished_run(workspace, "two", 1200)
    app = Workbench(workspace, open_run=one.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "events" in screen_text(app) and "done" in screen_text(app))
        events = app.screen.query_one("#events", EventLog)
        await until(pilot, lambda: events._length > 20)
        events.scroll_lines(5)
        assert events._scrolled == 5
        app.session.select(two)
        app.session.watcher.wake()
        await until(pilot, lambda: "two" in screen_text(app).splitlines()[0])
        assert events._scrolled == 0


@pytest.mark.heavy
async def test_hardware_readings_are_dim_once_they_are_outdated(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(workspace, "live")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 20, 400))
    app = Workbench(workspace, open_run=run.id)

    def roles() -> set[str]:
        return {role for line in app.screen.query_one(HardwarePane)._content for text, role in line if text.strip()}

    with hold_locks(run):
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: "machine" in screen_text(app) and "cpu" in screen_text(app))
            assert "as of" not in screen_text(app) and roles() > {"dim"}
            await until(pilot, lambda: re.search(r"past cpu +[▁-█]{2,} +\d+ (to \d+ )?%", screen_text(app)))
            assert re.search(r"past ram +[▁-█]{2,} +[\d.]+ (to [\d.]+ )?GiB", screen_text(app))
            monkeypatch.setattr("llmtui.tui.widgets.hardware.STALE_AFTER", 0.0)
            await until(pilot, lambda: "as of" in screen_text(app))
            assert roles() == {"dim"}
    monkeypatch.undo()
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "machine  ended, " in screen_text(app))
        assert roles() == {"dim"}
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "machine  ended, " in screen_text(app))
        assert re.search(r"machine  ended, \d+ \w+ \d\d:\d\d ─", screen_text(app))


async def test_long_events_are_wrapped_where_there_is_height(workspace: Workspace) -> None:
    run = make_run(workspace, "wordy")
    long = "one two three four five six seven eight nine ten eleven twelve end of it"
    FakeWorker(run).write_events(*events_before_training(), Note(text=long))
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(200, 60)) as pilot:
        log = app.screen.query_one("#events-left", EventLog)
        await until(pilot, lambda: "end of it" in log.copied)
        rows = log.copied.splitlines()
        number = next(at for at, row in enumerate(rows) if " one two" in row)
        assert " ".join(row[16:].strip() for row in rows[number : number + 3]).startswith(long)
        assert all(len(row) <= log.inner_size[0] for row in rows)


async def test_a_run_that_failed_before_training_says_where_and_why_at_every_size(workspace: Workspace) -> None:
    run = make_run(workspace, "short-text")
    write_launch(run, code=1)
    FakeWorker(run).write_events(
        AttemptStarted(attempt=1, pid=1, host="here", device="cpu"),
        StageStarted(stage="preprocess"),
        AttemptEnded(attempt=1, outcome="failed", what="cannot split the corpus: it is too short"),
    )
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: re.search(r"preprocess +✗  failed", screen_text(app)))
        assert re.search(r"preprocess ✗ +tokenize ·", screen_text(app))
        assert not app.screen.is_available("run.branch")  # type: ignore[attr-defined]
        await pilot.resize_terminal(40, 10)
        await until(pilot, lambda: "cannot split" in screen_text(app))


def test_a_gpu_shows_the_past_of_its_memory(workspace: Workspace) -> None:
    run, pane = make_run(workspace, "on-gpu"), HardwarePane()
    history = History(run)
    for step in (1, 2, 3):
        gpu = Gpu(name="H200", utilisation=0.5 + step / 10, memory=step * 2**30, memory_total=16 * 2**30)
        history.absorb([metric(step, 10), msgspec.structs.replace(reading(step), gpus=(gpu,))])
    pane.snapshot, pane.history = None, history
    lines = ["".join(text for text, _ in line) for line in pane.lines(48, 8)]
    assert re.search(r"past util +[▁-█]{2,} +60 to 80 %", lines[-2]), lines
    assert re.search(r"past mem +[▁-█]{2,} +1.0 to 3.0 GiB", lines[-1]), lines


@pytest.mark.heavy
async def test_all_losses_on_the_screen_have_one_unit(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app) and braille(app))
        evaluation = app.session.watcher.history.summary.evaluation  # type: ignore[union-attr]
        assert evaluation is not None
        text = screen_text(app)
        assert f"val {evaluation.bits_per_byte:.3f}" in text and f"{evaluation.loss:.3f}" not in text
        assert "loss, bits per byte" in text
        assert app.session.watcher.history.val[0].last == pytest.approx(evaluation.bits_per_byte)  # type: ignore[union-attr]
        loss = app.session.watcher.history.summary.metric.loss  # type: ignore[union-attr]
        per = evaluation.bits_per_byte / evaluation.loss
        assert app.session.watcher.history.cost(loss) == pytest.approx(loss * per, rel=0.01)  # type: ignore[union-attr]


async def test_notes_about_columns_and_encodings_are_shown_until_training_begins(workspace: Workspace) -> None:
    run = make_run(workspace, "books")
    with hold_locks(run):
        worker = FakeWorker(run)
        taken = "1 file with the text in 'body', beside 'title': posts.csv; it begins: 'It was a dark"
        worker.write_events(
            AttemptStarted(attempt=1, pid=1, host="here", device="2 cores, float32"),
            StageStarted(stage="download"),
            Note(text="1 file read as cp1254: turkish.txt"),
            Note(text=taken),
        )
        app = Workbench(workspace, open_run=run.id)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "1 file read as cp1254: turkish.txt" in screen_text(app))
            assert taken[:60] in screen_text(app)


@pytest.mark.heavy
async def test_the_remaining_time_of_the_first_evaluation_is_labelled_as_such(workspace: Workspace) -> None:
    run = make_run(workspace, "books")
    with hold_locks(run):
        worker = FakeWorker(run)
        worker.write_events(*events_before_training())
        for done in range(1, 4):
            worker.write_events(Progress(done=done, total=8, unit="tokens", of="evaluation", tick=1000.0 + done))
        app = Workbench(workspace, open_run=run.id)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: screen_text(app).splitlines()[-2].startswith(" evaluating  "))
            worker.write_events(metric(1, 100), metric(4, 100))
            await until(pilot, lambda: " left  " in screen_text(app).splitlines()[-2])
        eta = worker.summary.current_stage.seconds_left
        assert eta is not None and eta == pytest.approx(96 * SECONDS_PER_STEP, rel=0.3)


@pytest.mark.parametrize(
    ("name", "value", "cells", "seen"),
    [
        ("grad", "10.52 (clip 1)", 18, "grad 10.52"),
        ("memory", "664 MB, expected 699 MB", 18, "memory 664 MB"),
        ("shape", "3 layers, 4 heads, 256 wide", 18, "shape 3 layers"),
        ("shape", "3 layers, 4 heads, 256 wide", 28, "shape 3 layers, 4 heads"),
        ("planned", "201k tok in 5m00s", 17, "planned 201k tok"),
        ("best", "1.884 bpb", 12, "best 1.884"),
        ("best", "1.884 bpb", 8, ""),
    ],
)
def test_a_figure_that_does_not_fit_loses_details_then_its_unit(name: str, value: str, cells: int, seen: str) -> None:
    assert "".join(text for text, _ in figure_in(name, value, cells)) == seen
