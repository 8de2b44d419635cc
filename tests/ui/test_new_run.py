"""The new-run form on the screen."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from textual.pilot import Pilot

from core.runs.directory import Run
from core.runs.lookup import all_runs
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.home import Home
from llmtui.tui.screens.new_run import NewRun
from llmtui.tui.screens.train import Train
from llmtui.tui.widgets.bars import Notice
from llmtui.tui.widgets.form_panes import FieldDetail, FieldList
from tests.leftovers import command_line
from tests.ui.fake_runs import finished_run, make_run, write_launch
from tests.ui.pilot import screen_text, until
from tests.ui.test_screens import assert_whole

pytestmark = pytest.mark.heavy


async def open_form(pilot: Pilot[None], key: str = "n") -> NewRun:
    """Press `key` on Home and wait until the form has computed its recipe."""
    app = pilot.app
    await until(pilot, lambda: isinstance(app.screen, Home) and "llmtui" in screen_text(app))
    await pilot.press(key)
    await until(pilot, lambda: isinstance(app.screen, NewRun) and app.screen.result.resolved.recipe is not None)
    assert isinstance(app.screen, NewRun)
    return app.screen


async def edit(pilot: Pilot[None], search: str, text: str) -> None:
    """Find the one field with the words of `search` and give it `text`."""
    app = pilot.app
    await pilot.press("slash", *search, "enter")
    await until(pilot, lambda: sum(not isinstance(row, str) for row in app.screen.query_one(FieldList).items) == 1)
    await pilot.press("enter", "ctrl+u", "ctrl+k", *text, "enter", "escape")


async def test_a_run_starts_with_what_was_typed(workspace: Workspace, tmp_path: Path, no_supervisor: None) -> None:
    (tmp_path / "text.txt").write_text("once upon a time\n" * 50)
    app = Workbench(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        form = await open_form(pilot)
        await pilot.press("enter", *f"{tmp_path}/te")
        await until(pilot, lambda: "text.txt" in screen_text(app))
        await pilot.press("tab", "enter")
        await edit(pilot, "train.steps", "12")
        await until(pilot, lambda: form.result.resolved.recipe.train.steps == 12)  # type: ignore[union-attr]
        assert "2 fields changed" in screen_text(app) and "--set train.steps=12" in " ".join(form.result.command)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, Train))
    recipe = all_runs(workspace)[0].recipe
    assert (recipe.source.corpus, recipe.name, recipe.train.steps) == (f"{tmp_path}/text.txt", "text", 12)


async def test_a_wrong_value_is_named_beside_its_field_and_nothing_starts(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        form = await open_form(pilot)
        await pilot.press("enter", *"/no/such/place")
        await until(pilot, lambda: "'/no/such/place' is not built in" in screen_text(app))
        await pilot.press("enter")
        await edit(pilot, "train.minutes", "-3")
        await until(pilot, lambda: len(form.result.resolved.problems) == 2)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "Not started." in screen_text(app))
        assert not all_runs(workspace) and isinstance(app.screen, NewRun)
        form.fields.highlight("train.minutes")
        form._moved()
        assert "train.minutes = -3 is not a number above 0" in " ".join(screen_text(app).split())


async def test_what_was_typed_is_kept_when_the_form_is_left_and_esc_undoes_an_edit(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot)
        await edit(pilot, "train.batch_size", "5")
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, Home))
        form = await open_form(pilot)
        assert form.form.texts == {"train.batch_size": "5"}
        assert "Your draft" in str(form.query_one(Notice).lines(80, 1))  # which may have been hidden by now
        await pilot.press("slash", *"train.batch_size", "enter", "enter", *"77", "escape")
        assert form.form.texts == {"train.batch_size": "5"}
        await pilot.press("r")
        assert not form.form.texts


async def test_a_run_like_another_differs_in_what_was_changed_alone(workspace: Workspace, no_supervisor: None) -> None:
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "bard" in screen_text(app))
        await open_form(pilot, "L")
        await edit(pilot, "train.label_smoothing", "0.1")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, Train))
    made = all_runs(workspace)[0].recipe
    assert (made.name, made.train.label_smoothing) == ("bard-2", 0.1)
    assert (made.model, made.source) == (run.recipe.model, run.recipe.source)


async def test_a_stopped_run_resumes_with_other_settings_but_not_with_another_model(
    workspace: Workspace, no_supervisor: None
) -> None:
    run = make_run(workspace, "bard")
    write_launch(run, code=1, gave_up=True)
    app = Workbench(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "bard" in screen_text(app))
        form = await open_form(pilot, "R")
        await pilot.press("slash", *"n_layer blocks", "enter", "enter")
        await until(
            pilot, lambda: "model.n_layer must stay as it is: the weights are of that model" in screen_text(app)
        )
        await pilot.press("escape")
        await edit(pilot, "train.grad_clip", "0.5")
        await until(pilot, lambda: form.form.texts == {"train.grad_clip": "0.5"})
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, Train))
    assert Run.open(run.path).recipe.train.grad_clip == 0.5


async def test_the_first_documents_are_shown_without_what_a_terminal_would_obey(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("once \x1b[31mred\x1b]0;title\x07 upon a time  \n" * 30)
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        form = await open_form(pilot)
        form.form.set("source.corpus", str(tmp_path / "text.txt"))
        form._changed()
        await until(pilot, lambda: form.result.resolved.recipe.source.corpus.endswith("text.txt"))  # type: ignore[union-attr]
        await pilot.press("p")
        await until(pilot, lambda: "upon a time" in screen_text(app))
        text = screen_text(app)
        assert "␛" in text and "\x1b" not in text and "text.txt" in text


async def test_closing_the_documents_ends_the_process_that_reads_them(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot)
        await pilot.press("p")

        def is_reading() -> bool:
            return any("core.jobs.data_commands" in command_line(child) for child in psutil.Process().children())

        await until(pilot, is_reading)
        await pilot.press("escape")
        await until(pilot, lambda: not is_reading())
        assert isinstance(app.screen, NewRun) and not list(workspace.cache.glob("preview-*"))


@pytest.mark.parametrize("size", [(40, 10), (60, 16), (80, 24), (120, 40), (200, 60)])
async def test_fields_and_their_meaning_are_whole_at_every_size(workspace: Workspace, size: tuple[int, int]) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=size) as pilot:
        form = await open_form(pilot)
        await until(pilot, lambda: "stdlib" in screen_text(app))
        assert_whole(app)
        text = screen_text(app)
        assert "source.corpus" in text and "enter" in text.splitlines()[-1]
        if size[1] >= 16:
            assert "parameters" in text
        await pilot.press("enter")
        await until(pilot, lambda: form.query_one(FieldDetail).suggestions)
        assert_whole(app)
        assert "hf:bookcorpus" in screen_text(app) or size[1] < 22


async def test_a_problem_does_not_repeat_the_description_below_it(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot)
        assert "esc leave" in screen_text(app).splitlines()[-1]
        await edit(pilot, "train.batch_size", "0")
        await until(pilot, lambda: "✗ train.batch_size = 0 is not a whole number" in screen_text(app))
        assert screen_text(app).count("Sequences of each step.") == 1
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "Not started. train.batch_size = 0 is not" in screen_text(app))
        assert screen_text(app).count("Sequences of each step.") == 1


async def test_while_fields_are_searched_the_footer_names_the_keys_of_the_search(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot)
        await pilot.press("slash", *"lr")
        await until(pilot, lambda: screen_text(app).splitlines()[-1].strip() == "enter keep these  esc show all")
        await pilot.press("enter")
        await until(pilot, lambda: "enter edit" in screen_text(app).splitlines()[-1])
