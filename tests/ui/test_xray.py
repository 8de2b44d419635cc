"""The X-ray over the chat: walking tokens and steps, taking another token, layers, losses; a masked model."""

from __future__ import annotations

import shutil

import pytest
from textual.pilot import Pilot

from core.runs.directory import Run
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.chat import Chat
from llmtui.tui.screens.home import Home
from llmtui.tui.screens.xray import Xray
from llmtui.tui.screens.xray_masked import Denoising
from llmtui.tui.widgets.prompt import PromptInput
from tests.byte_models import run_with_checkpoints
from tests.ui.pilot import screen_text, until
from tests.ui.test_every_size import assert_dialog_whole_at_every_size, assert_whole_at_every_size

pytestmark = pytest.mark.heavy


async def open_xray(pilot: Pilot[None], run: Run) -> None:
    """Generate a text in the chat, and open its X-ray from the prompt."""
    app = pilot.app
    await pilot.press("5")
    await until(pilot, lambda: isinstance(app.focused, PromptInput) and "step 20" in screen_text(app))
    await pilot.press(*"hello", "enter")
    await until(pilot, lambda: isinstance(app.screen, Chat) and app.screen.turns and not app.screen.turns[-1].pending)
    await pilot.press("ctrl+g")
    await until(pilot, lambda: isinstance(app.screen, Xray | Denoising))


async def test_walking_taking_another_token_and_going_back(workspace: Workspace) -> None:
    run = run_with_checkpoints(workspace, 10, 20)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_xray(pilot, run)
        screen = app.screen
        assert isinstance(screen, Xray)
        await until(pilot, lambda: screen.inspection.branch.complete and "token 1 of 12" in screen_text(app))
        text = screen.inspection.branch.text
        await assert_whole_at_every_size(pilot, app, "x-ray")
        await pilot.press("question_mark")
        await assert_dialog_whole_at_every_size(pilot, app, "esc closes")
        await pilot.press("escape")
        await pilot.resize_terminal(80, 24)
        await pilot.press("right", "right")
        await until(pilot, lambda: "token 3 of 12" in screen_text(app) and "◀ taken" in screen_text(app))
        for key, words in (("down", "surprise"), ("down", "8 tokens so far")):
            await pilot.press(key)
            await until(pilot, lambda words=words: words in screen_text(app))
        await pilot.press(*["up"] * 4)
        await until(pilot, lambda: "of shape (7, 257)" in screen_text(app) and "◀ the last row" in screen_text(app))

        await pilot.press("j", "enter")
        await until(pilot, lambda: len(screen.inspection.branches) == 2 and screen.inspection.branch.complete)
        await until(pilot, lambda: "branch 2 of 2" in screen_text(app))
        assert screen.inspection.branch.text[:2] == text[:2] and screen.inspection.branch.text[2] != text[2]
        await pilot.press("b")
        await until(pilot, lambda: "the reply" in screen_text(app) and "from token 3" in screen_text(app))
        await pilot.press("up", "enter")
        await until(pilot, lambda: "branch 1 of 2" in screen_text(app))
        assert screen.inspection.branch.text == text

        await pilot.press("a")
        await until(pilot, lambda: "Layer 1, head 1" in screen_text(app))
        await pilot.press("j")
        await until(pilot, lambda: "Layer 1, head 2" in screen_text(app))
        await pilot.press("l")
        await until(pilot, lambda: "embed" in screen_text(app))
        await pilot.press("d")
        await until(pilot, lambda: "step-00000010" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "bits per token" in screen_text(app) and "token 1 of 17" in screen_text(app))

        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, Chat))
        await pilot.press("ctrl+g")
        await until(pilot, lambda: isinstance(app.screen, Xray) and "branch 1 of 2" in screen_text(app))
        await pilot.press("1")
        await until(pilot, lambda: isinstance(app.screen, Home))
        assert not any(isinstance(each, Xray) for each in app.screen_stack)


async def test_a_checkpoint_that_was_deleted_is_called_so(workspace: Workspace) -> None:
    run = run_with_checkpoints(workspace, 10, 20)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await open_xray(pilot, run)
        await until(pilot, lambda: "token 1 of 12" in screen_text(app))
        shutil.rmtree(run.checkpoints / "step-00000020")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Chat))
        screen = app.screen
        assert isinstance(screen, Chat)
        screen.session.inspections.clear()
        await pilot.press("ctrl+g")
        await until(pilot, lambda: "has been deleted since" in screen_text(app))


async def test_a_masked_model_is_walked_by_denoising_steps(workspace: Workspace) -> None:
    run = run_with_checkpoints(workspace, 20, objective="masked")
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_xray(pilot, run)
        assert isinstance(app.screen, Denoising)
        await until(pilot, lambda: "denoising step 1 of 12 " in screen_text(app))
        assert "11 are still masked" in " ".join(screen_text(app).split())
        await pilot.press("end")
        await until(pilot, lambda: "denoising step 12 of 12" in screen_text(app))
        assert "0 are still masked" in " ".join(screen_text(app).split())
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Chat))
