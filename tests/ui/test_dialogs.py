"""Dialogs: the cursor of a picker is visible, help and long messages can be read to their end."""

from __future__ import annotations

import pytest
from textual.widgets import OptionList

from core.errors import LlmtuiError
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.picker import NO_MATCH
from llmtui.tui.screens.workbench_screen import show_error
from tests.ui.fake_runs import finished_run
from tests.ui.pilot import screen_text, until

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("setting", ["NO_COLOR", "ansi-dark", "ink", "paper"])
async def test_a_picker_shows_its_cursor_in_every_theme_and_without_colours(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    if setting == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        (workspace.config / "config.toml").write_text(f'theme = "{setting}"\n')
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        await pilot.press("t")
        await until(pilot, lambda: "Themes" in screen_text(app))

        def reversed_names() -> list[str]:
            options = app.screen.query_one(OptionList)
            region = options.content_region
            strips = app.screen._compositor.render_strips()[region.y : region.bottom]
            rows = [[s for s in strip if s.style and s.style.reverse and s.text.strip()] for strip in strips]
            return ["".join(s.text for s in row).strip() for row in rows if row]

        await until(pilot, lambda: len(reversed_names()) == 1)
        before = reversed_names()
        await pilot.press("down")
        await until(pilot, lambda: len(reversed_names()) == 1 and reversed_names() != before)


async def test_a_picker_says_that_nothing_matches_and_stays_open_on_enter(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        await pilot.press("t")
        await until(pilot, lambda: "paper" in screen_text(app))
        await pilot.press("q", "q")
        await until(pilot, lambda: NO_MATCH in screen_text(app))
        await pilot.press("enter", "down", "enter", "backspace", "backspace")
        await until(pilot, lambda: "paper" in screen_text(app) and NO_MATCH not in screen_text(app))


@pytest.mark.parametrize("size", [(60, 16), (80, 24)])
async def test_the_highlighted_choice_of_a_picker_stays_visible(workspace: Workspace, size: tuple[int, int]) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        await pilot.press("colon")
        await until(pilot, lambda: "Commands" in screen_text(app))
        options = app.screen.query_one(OptionList)
        for _ in range(options.option_count - 1):
            await pilot.press("down")
        await until(pilot, lambda: screen_text(app).count(f"Theme {app.theme_names[-1]}") == 1)
        assert options.highlighted == options.option_count - 1
        assert app.screen.query_one(".dialog").region.contains_region(options.region)


async def test_a_long_message_can_be_read_to_its_end(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(60, 16)) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        show_error(app, LlmtuiError("it broke " * 100, todo="try again"))
        await until(pilot, lambda: "it broke" in screen_text(app))
        assert "try again" not in screen_text(app)
        await pilot.press("pagedown", "pagedown")
        await until(pilot, lambda: "try again" in screen_text(app) and "esc close" in screen_text(app))


@pytest.mark.parametrize("size", [(60, 16), (80, 24)])
async def test_help_is_complete_at_every_width(workspace: Workspace, size: tuple[int, int]) -> None:
    from llmtui.tui.action_table import ACTIONS
    from llmtui.tui.actions import NAVIGATION
    from llmtui.tui.screens.help import HelpText

    app = Workbench(workspace)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        text = " ".join(screen_text(app).split())
        assert "no network" in text and "come back at any time with `llmtui`." in text
        await pilot.press("question_mark")
        await until(pilot, lambda: "on this screen" in screen_text(app))
        keys = app.screen.query_one(HelpText)
        lines = keys.content(keys.inner_size[0])
        whole = " ".join("".join(text for text, _ in line).strip() for line in lines)
        for what in [action.description for action in ACTIONS] + [what for _, what in NAVIGATION]:
            assert what in " ".join(whole.split()), what
        assert "…" not in whole


async def test_details_of_choices_are_in_a_column_and_stay_there_while_one_types(workspace: Workspace) -> None:
    finished_run(workspace, "bard", 20)
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app))
        await pilot.press("v")
        await until(pilot, lambda: "enter switches, esc closes" in screen_text(app))

        def column_of(detail: str) -> int:
            return next(row.index(detail) for row in screen_text(app).splitlines() if detail in row)

        place = column_of("What it is doing, or how it ended")
        assert column_of("Tokens per second.") == column_of("Time since it was created.") == place
        await pilot.press(*"second")
        await until(pilot, lambda: "What it is doing" not in screen_text(app))
        assert column_of("Tokens per second.") == place


async def test_hosts_and_notices_have_a_title(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(60, 16)) as pilot:
        await until(pilot, lambda: "n  a run of your own" in screen_text(app))
        await pilot.press("H")
        await until(pilot, lambda: "Other machines" in screen_text(app) and "no other machines yet" in screen_text(app))
        await pilot.press("escape", "exclamation_mark")
        await until(pilot, lambda: "Notices, the newest first" in screen_text(app))


async def test_the_dialog_for_a_note_takes_a_few_rows(workspace: Workspace) -> None:
    finished_run(workspace, "bard", 20)
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app))
        await pilot.press("N")
        await until(pilot, lambda: "Note on bard" in screen_text(app) and "alt+enter new line" in screen_text(app))
        assert app.screen.query_one(".dialog").size.height <= 12
