"""Every screen of the table is complete."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from textual.widgets import TextArea

from core.storage.workspace import Workspace
from llmtui.tui.action_table import ACTIONS, OVER_CHAT
from llmtui.tui.actions import to_markdown
from llmtui.tui.app import Workbench
from llmtui.tui.screen_table import DATA_VIEWS, NEW_RUN, SCREENS, STUDY, ScreenEntry, ViewEntry
from llmtui.tui.screens.data import DataScreen
from llmtui.tui.screens.run_screen import RunScreen
from llmtui.tui.widgets.bars import FooterBar
from tests.ui.pilot import screen_class, screen_text, until

T = TypeVar("T")


@pytest.mark.parametrize("entry", (*SCREENS, *DATA_VIEWS, STUDY), ids=lambda entry: entry.name)
def test_every_screen_is_complete(entry: ScreenEntry | ViewEntry) -> None:
    screen = screen_class(entry)
    assert issubclass(screen, RunScreen), f"{entry.class_path} is not a subclass of RunScreen"
    assert entry.name == screen.SCOPE, f"{screen.__name__}.SCOPE is {screen.SCOPE!r}, not {entry.name!r}"
    style_sheet = Path(inspect.getfile(screen)).with_suffix(".tcss")
    css_path: Any = screen.CSS_PATH
    style_sheets = [css_path] if isinstance(css_path, str) else css_path
    assert style_sheets and style_sheet.name in style_sheets, f"{screen.__name__}.CSS_PATH lacks {style_sheet.name!r}"
    assert style_sheet.exists(), f"{entry.name} has no style sheet {style_sheet.name}"
    own = {action.id for action in ACTIONS if entry.name in action.scopes}
    assert "app.back" in own, f"esc does nothing in {entry.name}: add it to the scopes of app.back in ACTIONS"
    bound = {binding.id for binding in screen.BINDINGS}  # type: ignore[union-attr]
    assert own <= bound, f"{screen.__name__}.BINDINGS has no bindings({entry.name!r})"
    assert entry.description in to_markdown(), f"docs/keys.md does not list {entry.name}"


def test_numbers_and_names_of_screens_are_unique() -> None:
    names = [entry.name for entry in (*SCREENS, *DATA_VIEWS[1:], STUDY)]
    for values in ([entry.number for entry in SCREENS], [view.key for view in DATA_VIEWS], names):
        twice = [value for value, count in Counter(values).items() if count > 1]
        assert not twice, f"two screens have {twice[0]!r}"


def test_views_of_the_data_screen_share_its_first_line() -> None:
    assert all(issubclass(screen_class(view), DataScreen) for view in DATA_VIEWS)


def test_actions_name_screens_of_the_table() -> None:
    scopes = {"app", NEW_RUN, *OVER_CHAT} | {entry.name for entry in (*SCREENS, *DATA_VIEWS, STUDY)}
    for action in ACTIONS:
        assert set(action.scopes) <= scopes, f"{action.id}: {set(action.scopes) - scopes} is no screen"


@pytest.mark.parametrize(("cells", "named"), [(60, {"chat"}), (80, {"chat"}), (160, {s.name for s in SCREENS})])
def test_the_footer_says_where_one_is(cells: int, named: set[str]) -> None:
    footer = FooterBar("chat", lambda _: True, {})
    text = "".join(text for text, _ in footer.lines(cells, 1)[0])
    screens = text.partition("│")[0].split()
    assert [word for word in screens if word.isdigit()] == [entry.number for entry in SCREENS]
    assert {word for word in screens if not word.isdigit()} == named


def every_pair(items: Sequence[T]) -> Iterator[T]:
    """A walk on which each of `items` once follows each: a De Bruijn sequence of order 2, and its first item again."""
    for place, item in enumerate(items):
        yield item
        for other in items[place + 1 :]:
            yield from (item, other)
    yield items[0]


@pytest.mark.heavy
async def test_its_number_shows_a_screen_from_every_other(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        for entry in every_pair(SCREENS):
            await pilot.press("escape", entry.number)
            await until(pilot, lambda entry=entry: type(app.screen) is screen_class(entry))


@pytest.mark.heavy
async def test_the_key_of_a_view_shows_it_and_the_number_returns_to_it(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        for view in DATA_VIEWS:
            await pilot.press(view.key)
            await until(pilot, lambda view=view: type(app.screen) is screen_class(view))
            header = screen_text(app).splitlines()[0]
            assert all(f"{other.key} {other.label}" in header for other in DATA_VIEWS)
            if isinstance(app.focused, TextArea):
                await pilot.press("escape")  # in which digits are text
            await pilot.press("1", "2")
            await until(pilot, lambda view=view: type(app.screen) is screen_class(view))
