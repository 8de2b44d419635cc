"""Data, batch: what the run is trained on at a step, and which text had a high loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.recipe.schema import Recipe
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.data_batch import BatchScreen
from llmtui.tui.widgets.batch_rows import BatchRows
from llmtui.tui.widgets.token_grid import TokenGrid
from tests.tokenized_runs import DirectClient, tokenized_run
from tests.ui.fake_runs import make_run
from tests.ui.pilot import SIZES, screen_text, until

pytestmark = pytest.mark.heavy


async def test_the_rows_of_a_step_their_losses_and_another_step(
    workspace: Workspace, tiny: Callable[..., Recipe]
) -> None:
    tokenized_run(workspace, tiny("name=words", "train.batch_size=12"))
    app = Workbench(workspace, inference_client=DirectClient(workspace))
    async with app.run_test(size=(120, 40)) as pilot:
        app.action_show_screen("batch")
        await until(pilot, lambda: "step 3  loss 8.250 in training" in screen_text(app))
        assert "row 1 of 12" in screen_text(app) and "context alone, not a target" in screen_text(app)
        screen = app.screen
        assert isinstance(screen, BatchScreen)
        rows, grid = screen.query_one(BatchRows), screen.query_one(TokenGrid)

        # the output layer of an untrained model is zero: the loss of each token is log(300)
        await pilot.press("space")
        await until(pilot, lambda: "5.704 under step 2" in screen_text(app))
        assert "loss 5.704 nats, 1 in 300" in screen_text(app)
        await pilot.press("down")
        await until(pilot, lambda: "row 2 of 12" in screen_text(app))
        await pilot.press("tab", "right", "right")
        assert grid.has_focus and grid.cursor == 3
        await pilot.press("n", "m")
        assert not grid.numbers and grid.cursor == 2

        screen.show_step(900)
        await until(pilot, lambda: "step 900  5.704 under step 2" in screen_text(app))  # not trained yet
        await pilot.press("[", "[")
        await until(pilot, lambda: "step 898  5.704" in screen_text(app))
        await pilot.press("space", "s", "7", "enter")
        await until(pilot, lambda: rows.view is not None and rows.view.batch.step == 7)
        assert rows.view is not None and not rows.view.scored
        for size in SIZES:
            await pilot.resize_terminal(*size)
            await until(pilot, lambda: "step 7" in screen_text(app))


async def test_without_tokens_the_screen_says_when_there_will_be_a_batch(workspace: Workspace) -> None:
    make_run(workspace, "fresh")
    app = Workbench(workspace, inference_client=DirectClient(workspace))
    async with app.run_test(size=(80, 24)) as pilot:
        app.action_show_screen("batch")
        await until(pilot, lambda: "This run has no tokens yet" in screen_text(app))
        await pilot.press("space", "o", "n", "[", "]", "m")
        assert "This run has no tokens yet" in screen_text(app)
