"""Keys that are typed faster than the screen follows."""

from __future__ import annotations

from textual import events
from textual.widgets import Input

from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.key_order import KeyHandled
from llmtui.tui.screens.picker import Picker
from llmtui.tui.widgets.bars import HeaderBar
from llmtui.tui.widgets.prompt import PromptInput
from tests.ui.fake_runs import finished_run
from tests.ui.pilot import screen_text, until


def type_at_once(app: Workbench, keys: str) -> None:
    """All keys arrive before the first one has been handled."""
    for character in keys:
        app.post_message(events.Key({"/": "slash", ":": "colon"}.get(character, character), character))


async def test_a_word_typed_at_once_goes_to_the_field_that_its_first_key_opens(workspace: Workspace) -> None:
    finished_run(workspace, "bard", 20)
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app))
        type_at_once(app, "/demo")
        await until(pilot, lambda: app.screen.query_one("#filter", Input).value == "demo")
        assert len(list(workspace.runs.glob("[!.]*"))) == 1, "d starts no demo"
        await pilot.press("escape")
        type_at_once(app, ":bard")
        await until(pilot, lambda: isinstance(app.screen, Picker) and app.screen.query_one(Input).value == "bard")
        await pilot.press("escape")
        type_at_once(app, "5hello")
        await until(pilot, lambda: any(field.text == "hello" for field in app.screen.query(PromptInput)))
        app.post_message(events.Paste("word\n" * 20_000))
        await until(pilot, lambda: len(app.screen.query_one(PromptInput).text) == len("hello") + 50_000)
        assert "The first 50,000 of 100,000 characters are pasted." in screen_text(app)


async def test_keys_that_are_handled_while_the_application_ends_are_dropped(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test() as pilot:
        await until(pilot, lambda: bool(app.screen.query(HeaderBar)))
        screen = app.screen
    assert not app.screen_stack
    app.on_key_handled(KeyHandled(0, screen))
    app._typed.append(events.Key("d", "d"))
    await app._handle_first()
