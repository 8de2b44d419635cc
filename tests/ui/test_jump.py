"""Jump mode."""

from __future__ import annotations

import pytest

from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.jump import Jump
from llmtui.tui.screens.model import Model
from llmtui.tui.widgets.architecture import PicturePane, StepPane
from tests.ui.pilot import screen_text, until


@pytest.mark.heavy
async def test_a_letter_goes_to_its_pane_and_any_other_key_leaves(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(200, 60)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: isinstance(app.screen, Model) and isinstance(app.focused, PicturePane))
        await pilot.press(";")
        await until(pilot, lambda: isinstance(app.screen, Jump) and "a architecture" in screen_text(app))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.focused, StepPane))
        await pilot.press(";", "escape")
        await until(pilot, lambda: isinstance(app.screen, Model) and isinstance(app.focused, StepPane))
        await pilot.press(";")
        await until(pilot, lambda: isinstance(app.screen, Jump))
        await pilot.click("#to-a")
        await until(pilot, lambda: isinstance(app.focused, PicturePane))
