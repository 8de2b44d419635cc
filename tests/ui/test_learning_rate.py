"""The learning rate is changed from the Train screen, and the charts mark where; notes on steps are marked, too."""

from __future__ import annotations

from msgspec.structs import replace

from core.events import LearningRateChanged
from core.runs.annotations import change_annotations
from core.runs.control import ControlRequests
from core.storage.workspace import Workspace
from core.train.commands import ChangeLearningRate
from llmtui.tui.app import Workbench
from llmtui.tui.screens.learning_rate import LearningRateDialog
from llmtui.tui.widgets.chart import Chart
from tests.ui.fake_runs import (
    FakeWorker,
    events_before_training,
    hold_locks,
    make_run,
    training_events,
    write_launch,
)
from tests.ui.pilot import screen_text, until


async def test_a_change_is_asked_for_with_its_effect_and_marked_with_the_notes(workspace: Workspace) -> None:
    run = make_run(workspace, "bard", "train.lr=8e-3")
    write_launch(run)
    change = LearningRateChanged(step=60, factor=0.5, before=8e-3, lr=4e-3)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 100, 400), change)
    change_annotations(run.path, lambda known: replace(known, step_notes={30: "loss jumped\nhere"}))
    app = Workbench(workspace, open_run=run.id)
    with hold_locks(run):
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: "peak learning rate 0.008 → 0.004" in screen_text(app))
            chart = app.screen.query_one("#loss", Chart)
            await until(pilot, lambda: "✎" in screen_text(app) and "↕" in screen_text(app))
            await pilot.press("v")
            for step, text in ((60, "↕ step 60: peak learning rate"), (30, "✎ loss jumped here")):
                while chart.cursor is None or chart.cursor > step:
                    await pilot.press("left")
                await until(pilot, lambda text=text: text in screen_text(app))

            await pilot.press("p")
            await until(pilot, lambda: isinstance(app.screen, LearningRateDialog))
            await until(pilot, lambda: "the peak is 8e-3 now" in screen_text(app))
            await pilot.press(*"fast")
            await until(pilot, lambda: "'fast' is not a number" in screen_text(app))
            await pilot.press("enter", *["backspace"] * 4, *"x0.25")
            await until(pilot, lambda: "8e-3 → 2e-3, 0.25 times the present one" in screen_text(app))
            await pilot.press("enter")
            await until(pilot, lambda: "then continues at a peak of 2e-3" in screen_text(app))
    assert ControlRequests(run).take_learning_rate() == ChangeLearningRate(0.25)
