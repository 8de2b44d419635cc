"""The growth film: the samples of one prompt, step by step."""

from __future__ import annotations

from core.events import GeneratedSample
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from tests.ui.fake_runs import FakeWorker, finished_run
from tests.ui.pilot import screen_text, until


async def test_the_samples_of_a_prompt_are_turned_over_by_step(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 300)
    other = GeneratedSample(step=290, prompt="Once", text=" \x1b[2Jupon", temperature=1, top_k=0, top_p=1, seed=3)
    FakeWorker(run).write_events(other)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "loss, bits per byte" in screen_text(app))
        await pilot.press("G")
        await until(pilot, lambda: "step 290 · 1 of 1 samples · prompt 1 of 2" in screen_text(app))
        assert "\x1b" not in screen_text(app)
        await pilot.press("p")
        await until(pilot, lambda: "step 300 · 3 of 3 samples" in screen_text(app) and "json.load" in screen_text(app))
        await pilot.press("left")
        await until(pilot, lambda: "step 200 · 2 of 3 samples" in screen_text(app))
        await pilot.press("home")
        await until(pilot, lambda: "step 100 · 1 of 3 samples" in screen_text(app))
        await pilot.press("right", "escape")
        await until(pilot, lambda: "loss, bits per byte" in screen_text(app))
