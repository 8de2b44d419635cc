"""The help: what has the focus first, then the screen, then everything else; found by words."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest

import llmtui.tui
from core.storage.workspace import Workspace
from llmtui.tui.action_table import ACTIONS
from llmtui.tui.app import Workbench
from llmtui.tui.screens.help import Help, HelpText, sections
from llmtui.tui.screens.home import Home
from llmtui.tui.widgets.list_pane import ListPane
from llmtui.tui.widgets.pane import Pane, ScrollPane
from llmtui.tui.widgets.runs_list import RunsList
from tests.ui.fake_runs import finished_run
from tests.ui.pilot import screen_text, until


def panes(base: type[Pane] = Pane) -> Iterator[type[Pane]]:
    for pane in base.__subclasses__():
        yield pane
        yield from panes(pane)


def test_every_pane_that_takes_the_focus_says_what_it_is() -> None:
    for module in pkgutil.walk_packages(llmtui.tui.__path__, "llmtui.tui."):
        import_module(module.name)
    general = (ScrollPane, ListPane, HelpText)
    silent = [p.__name__ for p in panes() if p.__module__.startswith("llmtui.") and p.can_focus and not p.HELP]
    assert not set(silent) - {pane.__name__ for pane in general}


@pytest.mark.parametrize("scope", ["home", "train", "chat", "new run"])
def test_the_help_has_every_action_once_the_screens_own_first(scope: str) -> None:
    entries = [entry for section in sections(scope, {}, None) for entry in section.entries]
    texts = [entry.text for entry in entries]
    assert all(action.description in texts for action in ACTIONS)
    ids = [entry.words.split()[0] for entry in entries if entry.words]
    assert len(ids) == len(set(ids)) == len(ACTIONS)
    own = {action.id for action in ACTIONS if scope in action.scopes}
    assert set(ids[: len(own)]) == own


@pytest.mark.heavy
async def test_help_begins_with_the_focused_pane_and_is_searched(workspace: Workspace) -> None:
    finished_run(workspace, "bard", 100)
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.focused, RunsList) and "bard" in screen_text(app))
        await pilot.press("question_mark")
        await until(pilot, lambda: "runs: where the focus is" in screen_text(app))
        assert "Your runs with their state" in screen_text(app) and "Move the cursor by a line." in screen_text(app)
        await pilot.press("slash", *"logit lens")
        await until(pilot, lambda: "X-ray, on other screens" in screen_text(app))
        assert "Your runs" not in screen_text(app)
        await pilot.press(*"zz")
        await until(pilot, lambda: "No key does anything about 'logit lenszz'" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "Your runs with their state" in screen_text(app))
        assert isinstance(app.screen, Help)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Home))
