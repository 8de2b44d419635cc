"""Exporting a checkpoint from the screens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.widgets import Input

from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.model_export import ExportDialog
from tests.byte_models import run_with_checkpoints
from tests.ui.pilot import screen_text, until


@pytest.mark.heavy
async def test_a_checkpoint_is_exported_in_the_background(workspace: Workspace, tmp_path: Path) -> None:
    run = run_with_checkpoints(workspace, 3, 7)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4", "E")
        await until(pilot, lambda: "Export of tiny: the checkpoint" in screen_text(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "Export step 3 of tiny as ApertusForCausalLM" in screen_text(app))
        await until(pilot, lambda: "‹ hf · float32 ›" in screen_text(app) and "tiny-3-hf-float32" in screen_text(app))
        await pilot.press("up")
        await until(pilot, lambda: "‹ mlx · float16 ›" in screen_text(app) and "tiny-3-mlx-float16" in screen_text(app))
        await pilot.press("down", "down")
        await until(pilot, lambda: "tiny-3-hf-bfloat16" in screen_text(app))
        await pilot.press("ctrl+u", "enter")
        await until(pilot, lambda: "Name a folder." in screen_text(app))
        app.screen.query_one(Input).value = str(workspace.runs)
        await pilot.press("enter")
        await until(pilot, lambda: "The folder is not empty." in screen_text(app))
        app.screen.query_one(Input).value = f"{tmp_path}/my model"
        await pilot.press("enter")
        await until(pilot, lambda: "tiny is exported:" in screen_text(app))
    assert json.loads((tmp_path / "my model" / "config.json").read_text())["dtype"] == "bfloat16"
    assert "exported at step 3." in (tmp_path / "my model" / "README.md").read_text()


async def test_what_cannot_be_exported_is_said_with_the_nearest_recipe(workspace: Workspace) -> None:
    run = run_with_checkpoints(workspace, 3, qk_norm=False)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3", "E")
        await until(pilot, lambda: "Cannot export the model: no architecture" in screen_text(app))
        await until(pilot, lambda: "model.qk_norm=true" in screen_text(app))


async def test_the_chat_exports_the_checkpoint_that_replies(workspace: Workspace) -> None:
    run = run_with_checkpoints(workspace, 3, 7)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("5", "escape", "E")
        await until(pilot, lambda: isinstance(app.screen, ExportDialog))
        await until(pilot, lambda: "Export step 7 of tiny" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, ExportDialog))
