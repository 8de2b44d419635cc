"""The selected run is the one shown, and keys act on no other."""

from __future__ import annotations

import time

import pytest

from core.runs.directory import RunState
from core.runs.lookup import all_runs
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.home import Home
from llmtui.tui.screens.train import Train
from llmtui.tui.widgets.runs_list import RunsList
from tests.ui.fake_runs import (
    FakeWorker,
    events_before_training,
    finished_run,
    hold_locks,
    make_checkpoint,
    make_run,
    training_events,
    write_launch,
)
from tests.ui.pilot import screen_text, until

pytestmark = pytest.mark.heavy


def first_line(app: Workbench) -> str:
    return screen_text(app).splitlines()[0]


@pytest.mark.parametrize("filtered", [False, True])
async def test_a_new_run_is_shown_and_selected_at_once_and_keys_act_on_it(
    workspace: Workspace, no_supervisor: None, filtered: bool
) -> None:
    (workspace.config / "config.toml").write_text("refresh_hz = 0.1\n")  # the clock comes too late to help
    old = make_run(workspace, "zebra")
    write_launch(old)
    FakeWorker(old).write_events(*events_before_training(), *training_events(1, 20, 400))
    app = Workbench(workspace)
    with hold_locks(old):
        async with app.run_test(size=(100, 30)) as pilot:
            await until(pilot, lambda: "● zebra" in screen_text(app))
            if filtered:
                await pilot.press("slash", *"zeb", "enter")
                await until(pilot, lambda: "1 of 1" in screen_text(app))
            await pilot.press("n", "down", "down", "enter", *"alpha", "enter", "ctrl+r")
            await until(pilot, lambda: isinstance(app.screen, Train))
            assert app.session.selected is not None and app.session.selected.run.name == "alpha"
            await until(pilot, lambda: "alpha" in first_line(app))
            await pilot.press("space", "x")
            await until(pilot, lambda: "nothing to" in screen_text(app) or app.screen.is_modal)
            assert "zebra" not in first_line(app)
            await pilot.press("escape", "1")
            await until(pilot, lambda: isinstance(app.screen, Home))
            current = app.screen.query_one(RunsList).highlighted
            assert current is not None and current.run.name == "alpha"
            await pilot.press("space")
            await pilot.pause(0.1)
        assert not old.pause_requested and not (old.control / "stop").exists()


async def test_a_refresh_begun_before_a_run_was_created_does_not_remove_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_run(workspace, "bard", 20)
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app))
        read_runs = app.session.watcher._read_runs

        def slowly() -> object:
            found = read_runs()
            time.sleep(0.4)
            return found

        monkeypatch.setattr(app.session.watcher, "_read_runs", slowly)
        app.session.watcher.wake()
        await pilot.pause(0.1)
        made = make_run(workspace, "fresh")
        app.session.watcher.add(made)
        app.session.select(made)
        for _ in range(30):
            await pilot.pause(0.05)
            assert app.session.selected is not None and app.session.selected.run.id == made.id
        monkeypatch.undo()


async def test_a_run_started_by_another_program_does_not_change_the_selection(
    workspace: Workspace,
) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        run = finished_run(workspace, "aaa", 20)
        await until(pilot, lambda: "aaa" in first_line(app))
        finished_run(workspace, "zzz", 20)
        await until(pilot, lambda: len(app.session.watcher.snapshots) == 2)
        await pilot.pause(0.3)
        assert "aaa" in first_line(app) and app.session.selected_id == run.id


async def test_after_the_selected_run_is_deleted_elsewhere_keys_act_on_no_other_run(workspace: Workspace) -> None:
    other = make_run(workspace, "other")
    write_launch(other)
    FakeWorker(other).write_events(*events_before_training(), *training_events(1, 20, 400))
    run = finished_run(workspace, "gone", 20)
    app = Workbench(workspace, open_run=run.id)
    with hold_locks(other):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "gone" in first_line(app))
            run.remove()
            await until(pilot, lambda: "No run is selected" in screen_text(app))
            await pilot.press("space", "x")
            await until(pilot, lambda: "There is no run to stop" in screen_text(app))
            assert other.state() is RunState.RUNNING and not other.pause_requested


async def test_deleting_the_selected_run_shows_home(workspace: Workspace) -> None:
    finished_run(workspace, "other", 20)
    run = finished_run(workspace, "gone", 20)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "gone" in first_line(app))
        await pilot.press("D", *"gone", "enter")
        await until(pilot, lambda: isinstance(app.screen, Home) and "gone is deleted" in screen_text(app))
    assert [run.name for run in all_runs(workspace)] == ["other"]


async def test_the_palette_finds_actions_runs_checkpoints_and_themes_by_name(workspace: Workspace) -> None:
    bard = finished_run(workspace, "bard", 20)
    finished_run(workspace, "stories", 20)
    for step in (10, 20):
        make_checkpoint(bard, step)
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app))
        await pilot.press("colon", *"bard", "enter")
        await until(pilot, lambda: isinstance(app.screen, Train) and "bard" in first_line(app))
        await pilot.press("colon", *"chat with step 10", "enter")
        await until(pilot, lambda: first_line(app).startswith(" chat") and "step 10 " in first_line(app))
        await pilot.press("escape", "colon", *"moss", "enter")
        await until(pilot, lambda: app.theme == "moss")
        await pilot.press("colon", *"app.help", "enter")
        await until(pilot, lambda: "on this screen" in screen_text(app))


async def test_a_changed_recipe_is_reloaded(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 20)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "bard" in first_line(app))
        from core.recipe.file import load

        run.rewrite(load(preset="demo", overrides=["name=bard", "train.steps=4321"]), 1)
        await until(pilot, lambda: "4,321" in screen_text(app))
