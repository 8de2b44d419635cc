"""The list of all samples of a run."""

from __future__ import annotations

import re

from core.events import GeneratedSample
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.sample_list import SampleList
from tests.ui.fake_runs import FakeWorker, make_run
from tests.ui.pilot import screen_text, until


def sample(step: int, prompt: str, text: str) -> GeneratedSample:
    return GeneratedSample(step=step, prompt=prompt, text=text, temperature=0.5, top_k=0, top_p=1, seed=step)


async def test_samples_are_listed_with_the_text_of_the_highlighted_one(workspace: Workspace) -> None:
    run = make_run(workspace, "bard")
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("A")
        await until(pilot, lambda: "There is no sample yet" in screen_text(app))
        FakeWorker(run).write_events(
            sample(100, "Once", " upon\na time"), sample(200, "def ", "f():"), sample(200, "Once", " \x1b[2Jmore")
        )
        await until(pilot, lambda: app.session.watcher.history and app.session.watcher.history.curves.events)
        await pilot.press("A")
        await until(pilot, lambda: isinstance(app.screen, SampleList) and "3 samples" in screen_text(app))
        rows = re.findall(r"\b[12]00  (\S.*?)  ", screen_text(app))
        assert rows == ["Once ␛[2Jmore", "def f():", "Once upon a time"]
        assert "step 200 · T 0.5 · seed 200" in screen_text(app)
        await pilot.press("down", "down")
        await until(pilot, lambda: re.search(r"Once upon  .*\n.* a time  ", screen_text(app)))
        await pilot.press("p")
        await until(pilot, lambda: "2 samples of prompt 1 of 2" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, SampleList))
