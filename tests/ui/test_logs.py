"""The Logs screen: reading, following and searching the files of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from core.storage.journal import tail_offset
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.logs import Logs
from llmtui.tui.widgets.log_pane import LogPane
from tests.ui.fake_runs import failed_run, finished_run
from tests.ui.pilot import screen_text, until


@pytest.mark.heavy
async def test_a_search_counts_its_matches_and_new_lines_are_followed(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 100)
    run.log.write_text("".join(f"line {number}{' needle' if number % 10 == 0 else ''}\n" for number in range(100)))
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: "line 99" in screen_text(app))
        await pilot.press("slash", *"needle", "enter")
        await until(pilot, lambda: "“needle” 10/10" in screen_text(app))
        await pilot.press("n")
        await until(pilot, lambda: "1/10" in screen_text(app) and "line 0 needle" in screen_text(app))
        await pilot.press("N", "N", "f")
        await until(pilot, lambda: "9/10, only these lines" in screen_text(app))
        assert "line 81" not in screen_text(app)
        await pilot.press("escape", "G")
        with run.log.open("a") as log:
            log.write("\x1b]0;owned\x07 the newest line\n")
        await until(pilot, lambda: "the newest line" in screen_text(app))
        assert app.screen.query_one(LogPane).is_following
        assert isinstance(app.screen, Logs) and not app.screen.query_one(Input).value


@pytest.mark.heavy
async def test_a_key_leads_from_a_failed_run_to_the_reason(workspace: Workspace) -> None:
    run = failed_run(workspace, "bard")
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("l")
        await until(
            pilot, lambda: isinstance(app.screen, Logs) and "out of memory with batches of 8" in screen_text(app)
        )


async def test_of_a_run_with_an_empty_log_the_journal_is_shown_first(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 20)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: "journal.jsonl  log.txt is empty" in screen_text(app) and "end " in screen_text(app))
        await pilot.press("o")
        await until(pilot, lambda: "have printed nothing; o shows" in screen_text(app))
        await pilot.press("o")
        await until(pilot, lambda: "journal.jsonl ─" in screen_text(app) and "end " in screen_text(app))


def test_only_the_end_of_a_long_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("".join(f"line {number}\n" for number in range(1000)))
    offset = tail_offset(path, 100)
    assert path.read_bytes()[offset:].startswith(b"line ")
    assert 80 < path.stat().st_size - offset <= 100
    assert tail_offset(path, 10**6) == tail_offset(tmp_path / "none", 10) == 0
