"""Data, tokens: what is typed is shown as the tokens of two vocabularies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.recipe.schema import Recipe
from core.storage.workspace import Workspace
from core.vocab.available import available_vocabularies
from llmtui.tui.app import Workbench
from llmtui.tui.screens.data_tokens import EXAMPLE, TokenInput, TokensView, VocabularyGrid
from llmtui.tui.screens.picker import Picker
from tests.tokenized_runs import DirectClient, tokenized_run
from tests.ui.pilot import SIZES, screen_text, until

pytestmark = pytest.mark.heavy

HOSTILE = "\x1b]0;owned\x07\u202e[/]\u200bé"


@pytest.fixture(autouse=True)
def no_published_vocabularies(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", f"{tmp_path}/nothing")


async def test_a_text_is_shown_under_both_vocabularies_while_it_is_typed(
    workspace: Workspace, tiny: Callable[..., Recipe]
) -> None:
    tokenized_run(workspace, tiny("name=words"))
    app = Workbench(workspace, inference_client=DirectClient(workspace))
    async with app.run_test(size=(120, 40)) as pilot:
        app.action_show_screen("tokens")
        await until(pilot, lambda: "words · bpe 300" in screen_text(app) and "1.00 bytes per token" in screen_text(app))
        assert EXAMPLE in screen_text(app)
        await pilot.press("b", "e", "i", *"theq")  # keys of the screens, then a text that replaces the example
        second = app.screen.query_one("#second", VocabularyGrid)
        await until(pilot, lambda: "".join(token.label for token in second.tokens) == "theq")
        assert [token.below for token in second.tokens] == ["116", "104", "101", "113"]
        assert "token 4 of 4 · id 113 · 1 byte, 71" in screen_text(app)

        app.screen.query_one(TokenInput).text = HOSTILE
        await until(pilot, lambda: len(second.tokens) == len(HOSTILE.encode()))
        assert "<C3>" in screen_text(app) and "\x1b" not in screen_text(app) and "\u202e" not in screen_text(app)

        await pilot.press("escape", "o")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        assert "bytes alone" in screen_text(app)
        await pilot.press("b", "y", "t", "enter")
        await until(pilot, lambda: screen_text(app).count("257 ids") == 2)
        for size in SIZES:
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert size[0] < 60 or "257 ids" in screen_text(app)


def test_a_vocabulary_of_several_token_shards_is_listed_once(workspace: Workspace, tiny: Callable[..., Recipe]) -> None:
    tokenized_run(workspace, tiny("name=words"))
    (workspace.artifacts / "tokens" / "words-0000.partial").mkdir()
    assert [choice.name for choice in available_vocabularies(workspace)] == ["corpus · bpe 300", "bytes"]


async def test_a_click_on_a_screen_a_view_or_a_key_presses_that_key(workspace: Workspace) -> None:
    app = Workbench(workspace, inference_client=DirectClient(workspace))
    async with app.run_test(size=(120, 40)) as pilot:

        async def click(bar: str, text: str) -> None:
            row = 0 if bar == "#top" else -1
            await pilot.click(bar, offset=(screen_text(app).splitlines()[row].index(text), 0))

        await until(pilot, lambda: "1 home 2 " in screen_text(app))
        await click("#keys", "2")
        await until(pilot, lambda: "2 data" in screen_text(app))
        await click("#top", "tokens")
        await until(pilot, lambda: isinstance(app.screen, TokensView))
        await click("#keys", "write")
        await until(pilot, lambda: isinstance(app.focused, TokenInput))
        await click("#keys", "esc")
        await until(pilot, lambda: isinstance(app.focused, VocabularyGrid))
