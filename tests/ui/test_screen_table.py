"""Every screen of the table is complete."""

from __future__ import annotations

import inspect
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from core.storage.workspace import Workspace
from llmtui.tui.action_table import ACTIONS
from llmtui.tui.actions import to_markdown
from llmtui.tui.app import Workbench
from llmtui.tui.screen_table import SCREENS, ScreenEntry
from llmtui.tui.screens.run_screen import RunScreen
from tests.ui.pilot import until


def screen_class(entry: ScreenEntry) -> type[RunScreen]:
    module, _, name = entry.class_path.partition(":")
    return getattr(import_module(module), name)  # type: ignore[no-any-return]


@pytest.mark.parametrize("entry", SCREENS, ids=lambda entry: entry.name)
def test_every_screen_is_complete(entry: ScreenEntry) -> None:
    screen = screen_class(entry)
    assert issubclass(screen, RunScreen), f"{entry.class_path} is not a subclass of RunScreen"
    assert entry.name == screen.SCOPE, f"{screen.__name__}.SCOPE is {screen.SCOPE!r}, not {entry.name!r}"
    style_sheet = Path(inspect.getfile(screen)).with_suffix(".tcss")
    assert style_sheet.name == screen.CSS_PATH, f"{screen.__name__}.CSS_PATH is not {style_sheet.name!r}"
    assert style_sheet.exists(), f"{entry.name} has no style sheet {style_sheet.name}"
    own = {action.id for action in ACTIONS if entry.name in action.scopes}
    assert "app.back" in own, f"esc does nothing in {entry.name}: add it to the scopes of app.back in ACTIONS"
    bound = {binding.id for binding in screen.BINDINGS}  # type: ignore[union-attr]
    assert own <= bound, f"{screen.__name__}.BINDINGS has no bindings({entry.name!r})"
    assert entry.description in to_markdown(), f"docs/keys.md does not list {entry.name}"


def test_numbers_and_names_of_screens_are_unique() -> None:
    for field in ("number", "name"):
        twice = [value for value, count in Counter(getattr(entry, field) for entry in SCREENS).items() if count > 1]
        assert not twice, f"two screens have the {field} {twice[0]!r}"


def test_actions_name_screens_of_the_table() -> None:
    scopes = {"app"} | {entry.name for entry in SCREENS}
    for action in ACTIONS:
        assert set(action.scopes) <= scopes, f"{action.id}: {set(action.scopes) - scopes} is not in SCREENS"


@pytest.mark.heavy
async def test_its_number_shows_a_screen_from_every_other(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        for first in SCREENS:
            for second in SCREENS:
                for entry in (first, second):
                    await pilot.press("escape", entry.number)
                    await until(pilot, lambda entry=entry: type(app.screen) is screen_class(entry))
