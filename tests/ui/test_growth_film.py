"""The growth film: the samples of one prompt, step by step."""

from __future__ import annotations

from core.events import GeneratedSample
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.growth_film import SamplePane
from tests.byte_models import run_with_checkpoints
from tests.tokenized_runs import DirectClient
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


async def test_c_shows_what_each_kept_checkpoint_makes_of_the_prompt(workspace: Workspace) -> None:
    run = run_with_checkpoints(workspace, 10, 20)
    FakeWorker(run).write_events(
        GeneratedSample(step=5, prompt="ab", text="cd", temperature=0, top_k=0, top_p=1, seed=3)
    )
    app = Workbench(workspace, open_run=run.id, inference_client=DirectClient(workspace))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.session.watcher.history and app.session.watcher.history.curves.events)
        await pilot.press("G")
        await until(pilot, lambda: "step 5 · 1 of 1 samples" in screen_text(app) and "abcd" in screen_text(app))
        await pilot.press("c")
        await until(pilot, lambda: "step 20 · 2 of 2 checkpoints" in screen_text(app))
        assert "T 0 · seed 3" in screen_text(app)
        pane = app.screen.query_one(SamplePane)
        assert pane.sample is not None
        newest = pane.sample
        await pilot.press("left")
        await until(pilot, lambda: "step 10 · 1 of 2 checkpoints" in screen_text(app))
        assert pane.sample.prompt == newest.prompt == "ab" and len(newest.text) == len(pane.sample.text) == 12
        await pilot.press("c")
        await until(pilot, lambda: "step 5 · 1 of 1 samples" in screen_text(app))
