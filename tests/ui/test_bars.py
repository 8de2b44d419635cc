"""Notices above the footer."""

from __future__ import annotations

import pytest

from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.widgets import bars
from tests.ui.fake_runs import (
    finished_run,
)
from tests.ui.pilot import screen_text, until


@pytest.mark.heavy
async def test_notices_do_not_cover_the_keys_and_disappear_by_themselves(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "MIN_SECONDS", 3.0)  # a busy machine draws it late
    monkeypatch.setattr(bars, "LETTERS_PER_SECOND", 1000.0)
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(60, 16)) as pilot:
        await until(pilot, lambda: "u unit" in screen_text(app).splitlines()[-1])  # once a curve has been read
        keys = screen_text(app).splitlines()[-1]
        assert "leave" in keys
        await pilot.press("x")
        await until(pilot, lambda: "nothing to stop" in screen_text(app))
        assert screen_text(app).splitlines()[-1] == keys
        await until(pilot, lambda: "nothing to stop" not in screen_text(app))
        long = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen."
        app.screen.show_notice(long)  # type: ignore[attr-defined]
        await until(pilot, lambda: "fifteen." in screen_text(app))
        assert long.split()[:3] == screen_text(app).splitlines()[-3].split()[:3]
        assert screen_text(app).splitlines()[-1] == keys
