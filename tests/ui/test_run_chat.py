"""Each run has its own prompt, settings and transcript."""

from __future__ import annotations

import pytest

from core.recipe.sampling import Sampling
from core.recipe.schema import Sample
from core.runs.transcript import AnswerInfo, ChatMessage, ConversationStart, Transcripts
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.chat import Chat
from llmtui.tui.widgets.prompt import PromptInput
from llmtui.tui.widgets.sampler_pane import SamplerPane
from llmtui.view.sampler_settings import parsed
from tests.ui.fake_runs import (
    finished_run,
    make_checkpoint,
)
from tests.ui.pilot import screen_text, until


@pytest.mark.heavy
async def test_prompt_and_settings_are_kept_for_each_run(workspace: Workspace) -> None:
    one, two = finished_run(workspace, "one", 100), finished_run(workspace, "two", 100)
    app = Workbench(workspace, open_run=one.id)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "one" in screen_text(app))
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.focused, PromptInput))
        await pilot.press(*"half a")
        sampler = app.screen.query_one(SamplerPane)
        sampler.change(parsed(sampler.settings, "temperature", "1.7"))
        app.session.select(two)
        app.session.watcher.wake()
        await until(pilot, lambda: app.screen.query_one(PromptInput).text == "")
        assert sampler.settings.sampling.temperature == Sample().temperature
        await pilot.press(*"other")
        app.session.select(one)
        app.session.watcher.wake()
        await until(pilot, lambda: app.screen.query_one(PromptInput).text == "half a")
        assert sampler.settings.sampling.temperature == 1.7
        await pilot.press("!")
        assert app.screen.query_one(PromptInput).text == "half a!"
    again = Workbench(workspace, open_run=one.id)
    async with again.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "one" in screen_text(again))
        await pilot.press("5")
        await until(pilot, lambda: isinstance(again.screen, Chat) and "half a!" in screen_text(again))
        assert again.screen.query_one(SamplerPane).settings.sampling.temperature == 1.7


@pytest.mark.heavy
async def test_replies_name_their_checkpoint_also_after_reopening(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 400)
    make_checkpoint(run, 200)
    old = Transcripts(run.path)
    short = AnswerInfo(sampling=Sampling(), tokens=20, ended="length")
    full = AnswerInfo(sampling=Sampling(), tokens=20, ended="length", checkpoint="step-00000200", precision="int8")
    old.add("step-00000400", ConversationStart(after="step-00000200"), ChatMessage(role="user", text="a"))
    old.add(
        "step-00000400",
        ChatMessage(role="assistant", text=" first", answer_info=full),
        ConversationStart(),
        ChatMessage(role="user", text="b"),
    )
    old.add("step-00000400", ChatMessage(role="assistant", text=" second", answer_info=short))
    old.close()
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "bard" in screen_text(app))
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.screen, Chat) and "second" in screen_text(app))
        text = screen_text(app)
        assert text.index("step 200 · ") < text.index("b second") < text.index("step 400 · ")
        assert "· int8" in text
