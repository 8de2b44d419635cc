"""The Model screen: picture, changes, weights of checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.model.count import parameters
from core.recipe.file import load
from core.runs.lookup import all_runs
from core.storage.artifact import write_directory
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.model_draft import ModelDraft
from llmtui.tui.screens.model import Model
from llmtui.tui.screens.new_run import NewRun
from llmtui.tui.widgets.architecture import FiguresPane
from tests.core.inspecting import model_of
from tests.ui.fake_runs import finished_run
from tests.ui.pilot import screen_text, until


def draft(preset: str = "gpt2") -> ModelDraft:
    return ModelDraft(f"preset {preset}", load(preset=preset))


def test_changes_move_the_figures_and_are_undone_one_by_one() -> None:
    model = draft()
    model.selected = "h"
    assert model.field == "n_layer" and model.change(1) and model.change(1)
    assert model.recipe.model.n_layer == 14 and model.is_changed
    assert model.figures.total.parameters == parameters(model.recipe.model, 50_257).total
    assert model.before.total.parameters == 124_439_808
    assert model.undo() and model.undo() and not model.undo()
    assert model.recipe == model.base and model.figures == model.before


def test_the_cursor_stays_when_its_step_is_no_longer_there() -> None:
    model = draft()
    model.selected = "wpe"
    assert model.field == "positions" and model.change(1)  # rotary: no table of positions
    assert model.step.name == "ids"
    model.undo()
    assert model.step.name == "wpe"


def test_a_vocabulary_has_a_size_to_change_only_if_it_is_made_for_the_corpus() -> None:
    model = draft()
    model.selected = "ids"
    assert "size" not in model.fields
    small = draft("small")
    small.set_vocabulary(3_900)
    small.selected = "ids"
    small.next_field()
    assert (small.field, small.vocabulary) == ("size", 3_900)
    assert small.change(1) and small.vocabulary == 8_192


async def test_the_heading_says_what_the_model_is_exported_as(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "exports as apertus" in screen_text(app))
        model = app.screen
        assert isinstance(model, Model)
        model.draft.selected = "attn"
        while model.draft.field != "qk_norm":
            await pilot.press("f")
        await pilot.press("right")
        await until(pilot, lambda: "no export: qk_norm" in screen_text(app))
        await pilot.press("u")
        await until(pilot, lambda: "exports as apertus" in screen_text(app))


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 60)])
async def test_every_size_shows_the_selected_part_and_what_it_does(workspace: Workspace, size: tuple[int, int]) -> None:
    finished_run(workspace, "bard", 100)
    app = Workbench(workspace)
    async with app.run_test(size=size) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "2 × block ─" in screen_text(app) and "Transformer blocks" in screen_text(app))
        await pilot.press("end")
        await until(pilot, lambda: "token ids (" in screen_text(app) and "The tokenizer splits" in screen_text(app))
        await pilot.press("home")
        await until(pilot, lambda: "logits (8, 256, 4,096)" in screen_text(app) and "Softmax turns" in screen_text(app))
        assert "1,442,432 parameters" in screen_text(app)


@pytest.mark.heavy
async def test_arrows_change_a_field_and_what_changed_is_marked(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = Workbench(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "preset demo" in screen_text(app) and "peak" in screen_text(app))
        await pilot.press("right")
        await until(pilot, lambda: "3 × block" in screen_text(app) and "was 2" in screen_text(app))
        assert "+50 %" in screen_text(app) and "1,639,296 parameters +14 %" in screen_text(app)
        await pilot.press("s", "home", *"deep-", "enter")
        await until(pilot, lambda: "Saved: llmtui run" in screen_text(app))
        saved = tmp_path / "deep-demo.toml"
        saved_recipe = load(file=saved)
        assert saved_recipe.model.n_layer == 3
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, NewRun) and app.screen.result.resolved.recipe)
        assert isinstance(app.screen, NewRun)
        form = app.screen.result.resolved
        assert not form.problems and form.recipe and form.recipe.model == saved_recipe.model
        await pilot.press("escape", "u")
        await until(pilot, lambda: "2 × block" in screen_text(app) and "was 2" not in screen_text(app))
        assert not all_runs(workspace)
        await pilot.press("p", *"gpt2 124", "enter")
        await until(pilot, lambda: "preset gpt2" in screen_text(app) and "12 × block" in screen_text(app))
        assert isinstance(app.screen, Model) and app.screen.query_one(FiguresPane).plans


@pytest.mark.heavy
async def test_weights_are_read_in_a_child_and_shown_by_step(workspace: Workspace) -> None:
    from core.model.weights import save_model

    run = finished_run(workspace, "bard", 100)
    for step in (50, 70):
        write_directory(
            run.checkpoints / f"step-{step:08d}",
            "train",
            f"{step:016d}",
            lambda path: save_model(model_of("modern"), path),
            facts={"step": step},
        )
    (run.checkpoints / "step-00000100" / "manifest.json").unlink()  # without weights
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4", "down", "down", "down", "enter")
        await until(pilot, lambda: "h.0.attn.c_attn.weight" in screen_text(app))
        await until(pilot, lambda: "norm by step" in screen_text(app))
        assert "step 70 · block 1 of 2" in screen_text(app)
        await pilot.press("]")
        await until(pilot, lambda: "h.1.attn.c_attn.weight" in screen_text(app))
        await pilot.press("c", "down", "enter")
        await until(pilot, lambda: "step 50 · block 2 of 2" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "Each token compares" in screen_text(app))


@pytest.mark.heavy
async def test_weights_that_cannot_be_read_are_a_sentence(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 100)
    write_directory(
        run.checkpoints / "step-00000100",
        "train",
        "1" * 16,
        lambda path: (path / "model.safetensors").write_bytes(b"\x1b]0;x") and None,
        facts={"step": 100},
    )
    app = Workbench(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4", "enter")
        await until(pilot, lambda: "The weights cannot be read: model.safetensors" in screen_text(app))
