"""Every screen shows its contents completely at every size."""

from __future__ import annotations

import os
import time

import pytest
from textual.pilot import Pilot

from core.events import AttemptStarted, Progress, StageStarted
from core.recipe.schema import Recipe
from core.runs.control import request_pause
from core.runs.series import CAPACITY
from core.runs.summary import Summary
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.run_watcher import HistoryUpdated
from llmtui.tui.widgets.pane import Pane
from llmtui.tui.widgets.prompt import PromptInput
from llmtui.tui.widgets.stages import stage_lines
from llmtui.view import units
from tests.ui.fake_runs import (
    FakeWorker,
    events_before_training,
    failed_run,
    finished_run,
    hold_locks,
    make_checkpoint,
    make_run,
    training_events,
    write_launch,
)
from tests.ui.pilot import SIZES, screen_text, until


async def showing(pilot: Pilot[None], *texts: str) -> str:
    """Wait until all of `texts` are on the screen."""
    await until(pilot, lambda: all(text in screen_text(pilot.app) for text in texts))
    return screen_text(pilot.app)


def assert_whole(app: Workbench) -> None:
    """Every visible pane lies inside the terminal and none overlaps another."""
    panes = [pane for pane in app.screen.query(Pane) if pane.display and pane.size and pane.region.area]
    for pane in panes:
        assert app.size.region.contains_region(pane.region), f"{pane!r} leaves the screen"
    for i, one in enumerate(panes):
        for other in panes[i + 1 :]:
            assert not one.region.overlaps(other.region), f"{one!r} covers {other!r}"


@pytest.mark.parametrize("size", SIZES)
async def test_the_first_start_offers_the_demo_and_a_new_run(workspace: Workspace, size: tuple[int, int]) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=size) as pilot:
        text = await showing(pilot, "welcome", "llmtui")
        assert "start the demo" in text or size[1] < 16
        assert_whole(app)


@pytest.mark.heavy
@pytest.mark.parametrize("size", SIZES)
async def test_home_lists_runs_with_a_word_for_their_state(workspace: Workspace, size: tuple[int, int]) -> None:
    finished_run(workspace, "bard", 200)
    failed_run(workspace, "books")
    run = make_run(workspace, "live")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 300, 1000))
    app = Workbench(workspace)
    with hold_locks(run):
        async with app.run_test(size=size) as pilot:
            text = await showing(pilot, "● live", "training", "✓ bard", "done", "✗ books", "failed")
            assert_whole(app)
            if size[0] >= 80:
                assert "out of memory with batches of 8" in text
                assert "30.0 %" in text
                assert "734 documents" in text
                assert "val " in text and " bpb" in text


@pytest.mark.heavy
@pytest.mark.parametrize("size", SIZES)
async def test_train_shows_curve_numbers_and_progress(workspace: Workspace, size: tuple[int, int]) -> None:
    run = make_run(workspace, "live")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 1234, 4000))
    app = Workbench(workspace, open_run="live")
    with hold_locks(run):
        async with app.run_test(size=size) as pilot:
            text = await showing(pilot, "● live", "training", "step 1,234", "loss", "└0")
            assert_whole(app)
            assert "30.8" in text or "30.9" in text, "share of the training"
            assert " left" in text
            assert any(0x2800 < ord(char) < 0x2900 for char in text), "no curve"
            if size[0] >= 80:
                assert "cpu" in text and "GiB" in text
                assert "lr" in text and "grad" in text and "(clip 1)" in text
                assert "read_json(path" in text
                assert "xz -9 1.683" in " ".join(text.split())
            if size[1] >= 40:
                assert "events" in text and "grad norm" in text


@pytest.mark.heavy
@pytest.mark.parametrize("size", SIZES)
async def test_chat_without_a_checkpoint_says_so(workspace: Workspace, size: tuple[int, int]) -> None:
    run = make_run(workspace, "live")
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=size) as pilot:
        await pilot.press("5")
        await showing(pilot, "chat", "no checkpoint yet")
        assert_whole(app)


async def test_train_shows_the_data_stages_before_the_first_step(workspace: Workspace) -> None:
    run = make_run(workspace, "live")
    write_launch(run)
    FakeWorker(run).write_events(
        AttemptStarted(attempt=1, pid=1, host="here", device="2 cores"),
        StageStarted(stage="download"),
        Progress(done=3_000_000, total=12_000_000, unit="bytes", tick=1.0),
        Progress(done=6_000_000, total=12_000_000, unit="bytes", tick=2.0),
    )
    app = Workbench(workspace, open_run="live")
    with hold_locks(run):
        async with app.run_test(size=(80, 24)) as pilot:
            await showing(pilot, "stages", "reading", "50.0 %", "3.00 MB/s", "bpe, 4,096 entries")


async def test_a_failed_run_says_why_and_what_to_do(workspace: Workspace) -> None:
    failed_run(workspace, "books")
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await showing(pilot, "out of memory with batches of 8", "try train.batch_size = 4", "no checkpoint yet")


async def test_a_run_without_processes_is_shown_as_interrupted(workspace: Workspace) -> None:
    run = make_run(workspace, "gone")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 200, 4000))
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await showing(pilot, "! gone", "interrupted", "r resumes from step 200")


async def test_a_run_without_new_events_is_shown_as_stalled(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmtui.tui.run_watcher.SEEN_SECONDS", 0.3)
    run = make_run(workspace, "quiet")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 20, 4000))
    an_hour_ago = time.time() - 3600
    os.utime(run.journal, (an_hour_ago, an_hour_ago))
    app = Workbench(workspace)
    with hold_locks(run):
        async with app.run_test(size=(80, 24)) as pilot:
            await showing(pilot, "? quiet", "stalled", "No step for 1h00m (usual 0.2s): it may hang")
            await pilot.press("3")
            assert " left" not in await showing(pilot, "no step for 1h00m (usual 0.2s)")
            request_pause(run)
            await showing(pilot, "paused")


@pytest.mark.heavy
async def test_resizing_keeps_every_pane_inside_the_screen(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 300)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(200, 60)) as pilot:
        await showing(pilot, "✓ bard", "└0")
        for size in ((80, 24), (40, 10), (120, 40), (100, 20), (24, 6), (300, 100), (60, 16)):
            await pilot.resize_terminal(*size)
            await showing(pilot, "✓ bard")
            assert_whole(app)


@pytest.mark.heavy
async def test_the_curve_grows_with_new_events(workspace: Workspace) -> None:
    run = make_run(workspace, "live")
    write_launch(run)
    worker = FakeWorker(run)
    worker.write_events(*events_before_training(), *training_events(1, 40, 400))
    app = Workbench(workspace, open_run="live")

    def dots() -> int:
        return sum(0x2800 < ord(char) < 0x2900 for char in screen_text(app))

    with hold_locks(run):
        async with app.run_test(size=(80, 24)) as pilot:
            await showing(pilot, "step 40")
            before = dots()
            worker.write_events(*training_events(41, 50, 400))
            await showing(pilot, "step 50")
            assert dots() > before


@pytest.mark.heavy
async def test_a_long_journal_opens_while_keys_still_work(workspace: Workspace) -> None:
    run = make_run(workspace, "long")
    write_launch(run, code=0)
    worker = FakeWorker(run)
    worker.write_events(*events_before_training(), *training_events(1, 1000, 60_000))
    block = run.journal.read_bytes().split(b"\n", 14)[14]
    with run.journal.open("ab") as journal:
        for _ in range(40):
            journal.write(block)
    parts: list[HistoryUpdated] = []
    app = Workbench(workspace, open_run="long")
    hook = lambda message: parts.append(message) if isinstance(message, HistoryUpdated) else None  # noqa: E731
    async with app.run_test(size=(80, 24), message_hook=hook) as pilot:
        await until(pilot, lambda: app.session.watcher.history is not None and app.session.watcher.history.caught_up)
        assert len(parts) >= 3, "read in one go: no key could be pressed meanwhile"
        assert app.session.watcher.history is not None and len(app.session.watcher.history.curves.loss) <= CAPACITY
        assert app.session.watcher.history.summary.events == sum(1 for _ in run.journal.open("rb"))


@pytest.mark.heavy
async def test_checkpoints_are_offered_newest_first_with_the_best_marked(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 400)
    make_checkpoint(run, 200)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.focused, PromptInput))
        await pilot.press("escape")
        await showing(pilot, "step 400 (newest")
        await pilot.press("c")
        text = await showing(pilot, "Checkpoints of bard")
        assert text.index("step 400 (newest, best)") < text.index("step 200")
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: screen_text(app).splitlines()[0].rstrip().endswith("step 200"))


def test_the_speed_of_training_is_shown_in_tokens_per_second() -> None:
    summary = Summary()
    for event in (StageStarted(stage="train"), *training_events(1, 40, 4000)):
        summary.absorb(event)
    line = "".join(text for text, _ in stage_lines(Recipe(), summary, 80, True)[3])
    assert f"{units.count(summary.tokens_per_second)} tok/s" in line
