"""A branch of the run on the Train screen: its form, its command, and the curve of its ancestor."""

from __future__ import annotations

import shutil
from pathlib import Path

from msgspec.structs import replace

from core.runs.directory import Run
from core.runs.run_file import Parent
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.recipe_export import command_words
from llmtui.tui.recipe_form import RecipeForm, resolve_form
from llmtui.tui.screens.new_run import NewRun
from llmtui.tui.screens.overlaid_screen import ancestors
from llmtui.tui.widgets.chart import Chart
from tests.ui.fake_runs import FakeWorker, finished_run, make_checkpoint, make_run, metric, write_launch
from tests.ui.pilot import screen_text, until


def checkpoint_of(run: Run, step: int) -> Path:
    """A complete checkpoint of a run, with the part of its state that limits are compared with."""
    make_checkpoint(run, step)
    path = run.checkpoints / f"step-{step:08d}"
    (path / "state.json").write_text(f'{{"step": {step}, "tokens": {step * 4096}, "seconds": {step / 5}}}')
    return path


def test_a_branch_has_its_ancestors_whatever_their_ids(workspace: Workspace) -> None:
    """Ids of runs created in the same second are in no order."""
    run = make_run(workspace, "bard")
    branch = Run(run.path.with_name("0"), replace(run.file, parent=Parent(run=run.id, step=20)))
    assert ancestors(branch.id, {run.id: run, branch.id: branch}) == [run.id]
    assert ancestors(run.id, {run.id: run}) == []
    circular = Run(run.path, replace(run.file, parent=Parent(run=branch.id, step=20)))
    assert ancestors(branch.id, {run.id: circular, branch.id: branch}) == [run.id, branch.id]


def test_a_branch_may_have_another_name_and_rate_but_no_other_model(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 30)
    form = RecipeForm("branch", run, checkpoint_of(run, 20))
    form.set("train.lr", "1e-4")
    resolved = resolve_form(form.inputs, workspace)
    assert resolved.recipe and not resolved.problems
    assert resolved.recipe.name == "bard-20"
    expected = ["llmtui", "branch", run.id, "--checkpoint", "20", "--set", "train.lr=1e-4"]
    assert command_words(form.inputs, resolved.recipe, workspace) == expected
    form.set("name", "slower")
    form.set("train.steps", "15")
    form.set("train.minutes", "")
    resolved = resolve_form(form.inputs, workspace)
    assert "would end at once: the limit of 15 steps" in resolved.problems["train.steps"].what
    assert resolved.recipe and resolved.recipe.name == "slower"
    assert not form.why_fixed("name") and form.why_fixed("model.n_layer")


async def test_a_branch_is_set_up_from_the_checkpoint_at_the_cursor_with_its_ancestor_behind_it(
    workspace: Workspace,
) -> None:
    run = finished_run(workspace, "bard", 120)
    for step in (40, 80):
        checkpoint_of(run, step)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "loss, bits per byte" in screen_text(app))
        await pilot.press("v", *["pageup"] * 2, "b")
        await until(pilot, lambda: "the checkpoint that it begins with" in screen_text(app))
        await pilot.press("enter")
        await until(
            pilot, lambda: isinstance(app.screen, NewRun) and "Branch of bard, from step 80" in screen_text(app)
        )
        await pilot.press("escape")

        parent = Parent(run=run.id, step=80)

        def copy(directory: Path) -> None:
            shutil.copytree(run.checkpoints / "step-00000080", directory / "step-00000080")

        branch = Run.create(workspace, run.recipe, parent=parent, add_checkpoint=copy)
        write_launch(branch)
        FakeWorker(branch).write_events(*(metric(step, 120) for step in range(81, 100)))
        app.session.select(branch)
        app.session.watcher.wake()
        await until(pilot, lambda: "↑ bard" in screen_text(app))
        await until(pilot, lambda: "of bard from step 80" in screen_text(app))
        loss = app.screen.query_one("#loss", Chart)
        assert [(curve.glyph, curve.role) for curve in loss.curves] == [
            ("", "train"),
            ("", "val"),
            ("↑", "dim"),
            ("↑", "dim"),
        ]
