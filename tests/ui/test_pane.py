"""Panes: what was hidden is rendered again, and copying takes the text without borders."""

from __future__ import annotations

import pytest
from textual.app import App
from textual.geometry import Offset
from textual.selection import SELECT_ALL, Selection

from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.theming import default_variables
from llmtui.tui.widgets.pane import Pane
from llmtui.tui.widgets.transcript import Transcript
from tests.ui.fake_runs import (
    finished_run,
)
from tests.ui.pilot import screen_text, until


async def test_a_pane_updated_while_hidden_shows_its_new_content(workspace: Workspace) -> None:
    class Plain(Pane):
        text = "old"

        def lines(self, width: int, height: int) -> list[list[tuple[str, str]]]:
            return [[(self.text, "")]]

    class PlainApp(App[None]):
        def get_theme_variable_defaults(self) -> dict[str, str]:
            return default_variables()

        def compose(self):  # type: ignore[no-untyped-def]
            yield Plain()

    app = PlainApp()
    async with app.run_test(size=(40, 5)) as pilot:
        await until(pilot, lambda: "old" in screen_text(app))
        pane = app.query_one(Plain)
        pane.display = False
        await pilot.pause()
        pane.text = "new"
        pane.update()
        pane.display = True
        await until(pilot, lambda: "new" in screen_text(app))


@pytest.mark.heavy
async def test_copying_everything_takes_only_text_of_the_content(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app) and "read_json" in screen_text(app))
        for key in ("", "1", "5"):
            await pilot.press(*key)
            await pilot.pause(0.2)
            screen = app.screen
            screen.selections = {widget: SELECT_ALL for widget in screen.query("*") if widget.allow_select}
            copied = screen.get_selected_text() or ""
            for widget in screen.query("*"):
                assert str(widget.css_identifier_styled) not in copied, widget
            assert "bard" in copied and "╭" not in copied and "╯" not in copied
            screen.clear_selection()


@pytest.mark.heavy
async def test_a_selection_with_the_mouse_is_what_is_copied(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "def read_json" in screen_text(app))
        row, line = next((y, s) for y, s in enumerate(screen_text(app).splitlines()) if "def read_json" in s)
        column = line.index("def read_json")
        await pilot.mouse_down(offset=(column, row))
        await pilot.hover(offset=(column + 4, row))
        await pilot.hover(offset=(column + 13, row))
        await pilot.mouse_up(offset=(column + 13, row))
        assert (app.screen.get_selected_text() or "").startswith("def read_json")
        await pilot.press("ctrl+c")
        assert app.clipboard.startswith("def read_json")
        await until(pilot, lambda: "the terminal" in screen_text(app))


def test_a_selection_is_extracted_by_rows_and_columns() -> None:
    pane = Transcript()
    pane._content = [[("first line", "")], [("second", "dim"), (" line", "")]]
    assert pane.get_selection(Selection(Offset(6, 0), Offset(6, 1))) == ("line\nsecond", "\n")
    assert pane.get_selection(Selection(Offset(-2, -1), None)) == ("first line\nsecond line", "\n")
