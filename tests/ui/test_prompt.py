"""The cursor of text inputs."""

from __future__ import annotations

import itertools

import pytest

from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.widgets.prompt import PromptInput
from tests.ui.fake_runs import (
    finished_run,
)
from tests.ui.pilot import screen_text, until


@pytest.mark.heavy
@pytest.mark.parametrize("setting", ["NO_COLOR", "ansi-dark", "ink"])
async def test_the_cursor_of_inputs_is_visible_in_every_theme_and_without_colours(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    if setting == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        (workspace.config / "config.toml").write_text(f'theme = "{setting}"\n')
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)

    def marked(text: str) -> bool:
        """Whether the cell `text` differs from its background."""
        strips = app.screen._compositor.render_strips()
        for strip in strips:
            segments = list(strip)
            for before, here in itertools.pairwise(segments):
                if here.text == text and before.style and here.style and before.text.endswith(("xy", "q")):
                    return here.style.reverse or here.style.bgcolor != before.style.bgcolor
        return False

    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "bard" in screen_text(app))
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.focused, PromptInput))
        await pilot.press(*"xyz", "left")
        await until(pilot, lambda: marked("z"))
        await pilot.press("ctrl+p", *"qr", "left")
        await until(pilot, lambda: marked("r"))
