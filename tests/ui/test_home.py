"""The list of runs on Home."""

from __future__ import annotations

import pytest

from core.events import AttemptEnded, AttemptStarted
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.widgets.runs_list import RunsList
from llmtui.view.run_state import state_word
from tests.ui.fake_runs import (
    FakeWorker,
    events_before_training,
    hold_locks,
    make_run,
    training_events,
    write_launch,
)
from tests.ui.pilot import screen_text, until


@pytest.mark.heavy
async def test_filtering_a_scrolled_list_leaves_no_blank_rows(workspace: Workspace) -> None:
    for number in range(30):
        make_run(workspace, f"{'even' if number % 2 == 0 else 'odd'}-{number:02d}")
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "-29" in screen_text(app) or "odd" in screen_text(app))
        await pilot.press("G")
        await pilot.press("slash", *"odd")
        runs = app.screen.query_one(RunsList)
        await until(pilot, lambda: len(runs.items) == 15)
        await pilot.pause(0.1)
        rows = runs.lines(*runs.inner_size)
        assert len(rows) == min(15, runs.inner_size[1])


async def test_an_active_run_with_a_final_event_is_ending_and_not_starting(workspace: Workspace) -> None:
    run = make_run(workspace, "live")
    write_launch(run)
    worker = FakeWorker(run)
    worker.write_events(*events_before_training(), *training_events(1, 20, 20), AttemptEnded(attempt=1, outcome="done"))
    app = Workbench(workspace)
    with hold_locks(run):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "◌ live" in screen_text(app) or "● live" in screen_text(app))
            assert "ending" in screen_text(app) and "starting" not in screen_text(app)
            assert state_word(run, run.state()) == "ending"
            write_launch(run, attempt=2)
            await until(pilot, lambda: "ending" not in screen_text(app))
            assert state_word(run, run.state()) == run.state().value
            worker.write_events(AttemptStarted(attempt=2, pid=1, host="here", device="2 cores"))
            await until(pilot, lambda: "● live" in screen_text(app))
