"""Keys do what the table of actions says, which is the only place that says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.runs.directory import RunState
from core.runs.lookup import all_runs
from core.storage.workspace import Workspace
from llmtui.tui.action_table import ACTIONS
from llmtui.tui.actions import actions_in, bindings, checked_keymap, keys_of, to_markdown
from llmtui.tui.app import Workbench
from llmtui.tui.screen_table import DATA_VIEWS, NEW_RUN, SCREENS, STUDY
from llmtui.tui.screens.home import Home
from llmtui.tui.screens.new_run import NewRun
from llmtui.tui.screens.train import Train
from llmtui.tui.screens.xray import Xray
from llmtui.tui.screens.xray_masked import Denoising
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
from tests.ui.pilot import screen_class, screen_text, until

CLASSES: dict[str, type[Any]] = {entry.name: screen_class(entry) for entry in (*SCREENS, *DATA_VIEWS, STUDY)}
CLASSES |= {"app": Workbench, "xray": Xray, "denoising": Denoising, NEW_RUN: NewRun}


def test_every_action_has_a_method_where_it_can_be_pressed() -> None:
    for action in ACTIONS:
        for scope in action.scopes:
            method = f"action_{action.call.partition('(')[0]}"
            assert callable(getattr(CLASSES[scope], method, None)), f"{action.id}: {scope} has no method {method}"


@pytest.mark.parametrize("scope", [name for name in CLASSES if name != "app"])
def test_no_key_means_two_things_on_one_screen(scope: str) -> None:
    taken: dict[str, str] = {}
    for action in actions_in(scope):
        for key in keys_of(action, {}):
            assert key not in taken, f"{key}: {taken.get(key)} and {action.id}"
            taken[key] = action.id


def test_no_default_key_is_intercepted_by_terminals_or_multiplexers() -> None:
    swallowed = {f"ctrl+{letter}" for letter in "abhijmqsz"} | {"ctrl+space", "ctrl+backslash"}
    for action in ACTIONS:
        assert not swallowed & set(action.keys), action.id


def test_bindings_carry_the_ids_a_keymap_names() -> None:
    assert {binding.id for binding in bindings("home")} == {a.id for a in ACTIONS if "home" in a.scopes}


def test_unknown_action_in_the_keymap_gets_the_nearest_name() -> None:
    keymap, problems = checked_keymap({"run.puase": "p"})
    assert not keymap
    assert problems == ["keymap: there is no action 'run.puase'; did you mean 'run.pause'?"]


def test_colliding_keys_in_the_keymap_name_both_actions() -> None:
    keymap, problems = checked_keymap({"run.stop": "space"})
    assert not keymap
    assert problems == ["keymap: run.stop keeps its keys: space is run.pause already"]


def test_two_actions_may_swap_their_keys() -> None:
    keymap, problems = checked_keymap({"run.stop": "space", "run.pause": "x"})
    assert keymap == {"run.stop": "space", "run.pause": "x"} and not problems


def test_keys_that_terminals_send_as_others_are_rejected() -> None:
    _, problems = checked_keymap({"run.stop": "ctrl+m"})
    assert problems == ["keymap: run.stop keeps its keys: ctrl+m arrives as Enter in most terminals"]


def test_docs_list_every_action() -> None:
    text = to_markdown()
    assert all(f"`{action.id}`" in text and action.description in text for action in ACTIONS)
    written = Path(__file__).parents[2] / "docs" / "keys.md"
    if written.exists():
        assert written.read_text("utf-8") == text, "python -m llmtui.tui.actions > docs/keys.md"


async def test_a_users_key_replaces_ours_everywhere(workspace: Workspace) -> None:
    (workspace.config / "config.toml").write_text('[keymap]\n"app.help" = "f2"\n')
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "f2 help" in screen_text(app))
        await pilot.press("f1")
        assert isinstance(app.screen, Home)
        await pilot.press("f2")
        await until(pilot, lambda: "on this screen" in screen_text(app))


@pytest.mark.heavy
async def test_escape_goes_back_one_level_and_never_quits(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("5", "?", "escape", "escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, Home))
        await pilot.press("escape", "escape")
        assert app.is_running and isinstance(app.screen, Home)


@pytest.mark.heavy
async def test_help_and_palette_show_the_keys_in_force(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(120, 60)) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: "Save a checkpoint, then stop the run" in screen_text(app))
        await pilot.press("escape", "colon", *"choose the theme", "enter")
        await until(pilot, lambda: "Themes" in screen_text(app))


@pytest.mark.heavy
async def test_a_theme_is_previewed_and_saved_only_when_chosen(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        before = app.theme
        await pilot.press("t", *"paper")
        await until(pilot, lambda: app.theme == "paper")
        await pilot.press("escape")
        assert app.theme == before
        await pilot.press("t", *"paper", "enter")
        await until(pilot, lambda: not app.screen.is_modal)
    assert Workbench(workspace).theme == "paper"
    assert not (workspace.config / "config.toml").exists()


@pytest.mark.heavy
async def test_space_pauses_and_continues(workspace: Workspace) -> None:
    run = make_run(workspace, "live")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 20, 400))
    app = Workbench(workspace, open_run=run.id)
    with hold_locks(run):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "training" in screen_text(app))
            await pilot.press("space")
            await until(pilot, lambda: "‖ live  paused" in screen_text(app))
            assert run.pause_requested
            await pilot.press("space")
            await until(pilot, lambda: "● live  training" in screen_text(app))
            assert not run.pause_requested


@pytest.mark.heavy
async def test_stopping_asks_and_the_harmless_answer_has_the_focus(workspace: Workspace) -> None:
    run = make_run(workspace, "live")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 20, 400))
    app = Workbench(workspace, open_run=run.id)
    with hold_locks(run):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "training" in screen_text(app))
            await pilot.press("x")
            await until(pilot, lambda: "Stop live?" in screen_text(app))
            await pilot.press("enter")
            await until(pilot, lambda: not app.screen.is_modal)
            assert not (run.control / "stop").exists()
            await pilot.press("x")
            await until(pilot, lambda: "Stop live?" in screen_text(app))
            await pilot.press("y")
            await until(pilot, lambda: (run.control / "stop").exists())


@pytest.mark.heavy
async def test_checkpoint_and_sample_are_requested_from_the_run(workspace: Workspace) -> None:
    run = make_run(workspace, "live")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 20, 400))
    app = Workbench(workspace, open_run=run.id)
    with hold_locks(run):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "training" in screen_text(app))
            await pilot.press("c")
            await until(pilot, lambda: (run.control / "checkpoint").exists())
            await pilot.press("s")
            await until(pilot, lambda: list(run.control.glob("sample-*.json")))


@pytest.mark.heavy
async def test_unavailable_actions_say_why(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app))
        for key, why in (("space", "nothing to pause"), ("x", "nothing to stop"), ("r", "nothing to resume")):
            await pilot.press(key)
            await until(pilot, lambda why=why: why in screen_text(app))


@pytest.mark.heavy
async def test_deleting_needs_the_name_typed(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app))
        await pilot.press("D", *"brad", "enter")
        await until(pilot, lambda: "That is not bard." in screen_text(app))
        assert run.path.exists()
        await pilot.press(*["backspace"] * 4, *"bard", "enter")
        await until(pilot, lambda: "welcome" in screen_text(app))
        assert not run.path.exists()


@pytest.mark.heavy
async def test_the_filter_shortens_the_list_and_escape_clears_it(workspace: Workspace) -> None:
    finished_run(workspace, "bard", 100)
    make_checkpoint(finished_run(workspace, "stories", 100), 50)
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "bard" in screen_text(app))
        await pilot.press("slash", *"stor", "enter")
        await until(pilot, lambda: "1 of 2" in screen_text(app) and "✓ bard" not in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "✓ bard" in screen_text(app))


@pytest.mark.heavy
async def test_a_corpus_with_a_notice_has_to_be_accepted_first(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "core.runs.launch.python_command", lambda *_: ["false"]
    )  # what is started is not what this is about
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        await pilot.press("n", "enter", *"hf:bookcorpus", "enter", "ctrl+r")
        await until(pilot, lambda: "smashwords" in screen_text(app) and "accept and start" in screen_text(app))
        await pilot.press("enter")  # the harmless answer has the focus
        await until(pilot, lambda: not app.screen.is_modal)
        assert not all_runs(workspace)
        await pilot.press("n")
        await until(pilot, lambda: "Your draft" in screen_text(app))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "accept and start" in screen_text(app))
        await pilot.press("y")
        await until(pilot, lambda: all_runs(workspace))
    assert all_runs(workspace)[0].recipe.source.corpus == "hf:bookcorpus"


@pytest.mark.heavy
async def test_a_failed_start_is_one_sentence_and_the_workbench_continues(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.runs.launch.python_command", lambda *_: ["false"])
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        await pilot.press("d")
        await until(pilot, lambda: "Cannot start the run: its supervisor ended at once" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Train))
        assert all_runs(workspace)[0].state() is RunState.CREATED


async def test_leaving_says_that_runs_continue(workspace: Workspace) -> None:
    run = make_run(workspace, "live")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 20, 400))
    app = Workbench(workspace)
    with hold_locks(run):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "● live" in screen_text(app))
            await pilot.press("q")
            await until(pilot, lambda: not app.is_running or app._exit)
            assert "live continues" in str(app._exit_renderables[0])
        assert run.state() is RunState.RUNNING
