"""The screen of a study."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from textual.widgets import Input, Static

from core.events import Metric
from core.storage.workspace import Workspace
from core.tune.importance import FieldImportance, measure
from core.tune.start import waiting_trials
from core.tune.study import Study
from core.tune.tpe import OptunaMissingError
from core.tune.trials import best_trial
from llmtui.tui.app import Workbench
from llmtui.tui.screens.compare import Compare
from llmtui.tui.screens.new_run import NewRun
from llmtui.tui.screens.study import StudyScreen
from llmtui.tui.screens.study_dialogs import TextEditor
from llmtui.tui.screens.train import Train
from llmtui.tui.settings import load_ui_state
from llmtui.tui.widgets.bars import Notice
from llmtui.tui.widgets.chart import Chart
from llmtui.tui.widgets.runs_list import RunsList
from llmtui.tui.widgets.study_panes import TrialsTable
from tests.ui.fake_runs import FakeWorker, hold_locks, make_run, write_launch
from tests.ui.fake_studies import add_trial, fail, finish, make_study, trial_events
from tests.ui.pilot import CountingDriver, screen_text, until
from tests.ui.test_screens import assert_whole, showing
from tests.ui.test_terminal import BUDGETS

pytestmark = pytest.mark.heavy


async def test_a_study_shows_its_trials_and_its_keys_act_on_them(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    study = make_study(workspace, endings=(finish, finish, fail))
    trials = study.trials()
    best = best_trial(trials)
    assert best is not None
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6", "S")
        text = await showing(pilot, "study  bard", "✓ done", f"trial {best.number}", "8 of 8 trials", "batch_size")
        assert "6 done  2 failed" in text and f"★{best.bits_per_byte:.3f}" in text
        table, chart = app.screen.query_one(TrialsTable), app.screen.query_one(Chart)
        assert [row.key for row in table.items][:1] == [str(best.number)], "the best one first"
        await until(pilot, lambda: len(chart.curves) == 8)
        assert [curve.role for curve in chart.curves].count("dim") == 2, "those that failed"
        assert chart.curves[-1].name == f"trial {best.number}" and chart.curves[-1].glyph == "★"
        await pilot.press("w")
        await showing(pilot, "It is estimated from 8 results on; there are 6.")
        await pilot.press("w")
        await showing(pilot, "best so far", f"★ trial {best.number}; better")
        await pilot.press("w", "z")
        await showing(pilot, "results by train.batch_size", "lowest median")
        await pilot.press("w")
        await showing(pilot, "none is better and smaller than trial")
        await pilot.press("w")
        table.highlight("3")
        await showing(pilot, "Trial 3 failed: the loss is not finite")
        await pilot.press("O")
        await until(pilot, lambda: table.items[-1].key != table.items[0].key and "reversed" in screen_text(app))
        await pilot.press("O", "d")  # a trial that has ended
        await showing(pilot, "not running: nothing to drop")
        await pilot.press("c")
        await showing(pilot, "Insert a trial like trial 3", "train.lr=")
        await pilot.press(*" train.lr=7", "enter")
        await showing(pilot, "not a number above 0")
        await pilot.press("escape", "i", *"train.lr=0.02 model.n_layer=5", "enter")
        await showing(pilot, "The trial is the next one; r continues the study.")
        requests = list(study.control.glob("add-*.json"))
        assert len(requests) == 1 and b'"train.lr":0.02' in requests[0].read_bytes()
        await showing(pilot, "1 waiting")
        await pilot.press("i", *"train.lr=0.03", "enter")
        await showing(pilot, "The trial waits behind 1 other", "2 waiting")
        table.highlight(table.items[-1].key)
        await showing(pilot, "◌ waits 2")
        await pilot.press("K")
        await showing(pilot, "It has place 1.")
        await until(pilot, lambda: table.index == len(table.items) - 2)
        assert [request.values["train.lr"] for _, request in waiting_trials(study)] == [0.03, 0.02]
        await pilot.press("d")
        await until(pilot, lambda: len(waiting_trials(study)) == 1)
        table.highlight("3")
        await pilot.press("A")
        await until(pilot, lambda: len(waiting_trials(study)) == 2)
        assert waiting_trials(study)[1][1].values == trials[2].values
        await pilot.press("p")
        await showing(pilot, "Only a trial that waits at a rung can be promoted.")
        await pilot.press("b")
        await showing(pilot, "Save the recipe as a TOML file")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, NewRun))
        assert f"lr = {best.values['train.lr']}" in (tmp_path / "bard.toml").read_text()
        await showing(pilot, "This run trains for 5 minutes; a trial was shorter.")  # ten times the half minute of one
        await pilot.press("escape", "enter")
        await until(pilot, lambda: isinstance(app.screen, Train))
        assert app.session.selected_id == trials[2].run_id
        await pilot.press("6")
        await until(pilot, lambda: isinstance(app.screen, StudyScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Compare))
    assert load_ui_state(workspace.state).study_reversed is False


async def test_every_view_is_whole_at_every_size(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def without_optuna(*_: object, **__: object) -> AsyncIterator[FieldImportance]:
        raise OptunaMissingError("Optuna is not installed", todo='pip install "llmtui[tune]"')
        yield

    monkeypatch.setattr("llmtui.tui.screens.study_actions.stream_child_job", without_optuna)
    make_study(workspace, endings=(finish, finish, finish, fail), trials=11)
    app = Workbench(workspace)
    async with app.run_test(size=(60, 16)) as pilot:
        await pilot.press("6", "S")
        for size in ((60, 16), (80, 24), (120, 40), (200, 60), (40, 10)):
            await pilot.resize_terminal(*size)
            await showing(pilot, "study  bard")
            seen = ""
            for _ in range(6):
                app.screen.query_one(Notice).display = False  # it lies over the panes
                await pilot.pause(0.05)
                assert_whole(app)
                seen += screen_text(app)
                await pilot.press("w")
            if size[0] > 40:
                titles = ("loss", "importance", "best so far", "results by train.lr", "front", "trials")
                assert 'pip install "llmtui[tune]"' in seen
                assert all(f"─ {title}" in seen or f"╭ {title}" in seen for title in titles), "every view"


def test_the_field_that_matters_is_the_first_of_the_importance(workspace: Workspace) -> None:
    pytest.importorskip("optuna")
    study = make_study(workspace, trials=20)
    found = list(measure(study.path))
    assert found[0].key == "train.lr" and sum(each.share for each in found) == pytest.approx(1)


async def test_settings_are_edited_and_nonsense_is_refused(workspace: Workspace) -> None:
    study = make_study(workspace, trials=2)
    file = study.path / "study.toml"
    before = file.read_text()
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6", "S")
        await showing(pilot, "2 of 2 trials")
        await pilot.press("R")
        await showing(pilot, "study.toml", "trials = 2")
        await pilot.press(*"zz", "ctrl+r")
        await showing(pilot, "has no setting 'zzsampler'")
        assert file.read_text() == before
        await pilot.press("escape")
        file.write_text(before.replace("trials = 2", "trials = "))
        await showing(pilot, "cannot use this study", "study.toml", "2 done", "best")
        await pilot.press("R")
        await showing(pilot, "ctrl+r saves it")
        app.screen.query_one(TextEditor).text = before.replace("trials = 2", "trials = 20")
        await pilot.press("ctrl+r")
        await showing(pilot, "bard has new settings: r continues the study with them.", "2 of 20 trials")
        file.write_text(before.replace("trials = 2", "trials = 30"))
        await showing(pilot, "2 of 30 trials")


async def test_damaged_studies_and_missing_runs_say_so(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6", "S")
        await showing(pilot, "There is no study yet", "finds the best values")
        await pilot.press("space", "x", "r", "b", "i", "c", "d", "R", "o", "O", "E", "enter", "w", "z", "s")
        assert isinstance(app.screen, StudyScreen)
        study = make_study(workspace, trials=4)
        await showing(pilot, "4 of 4 trials")
        journal = study.journal.read_bytes()
        study.journal.write_bytes(journal[: len(journal) // 2])
        await until(pilot, lambda: "4 done" not in screen_text(app) and " done" in screen_text(app))
        study.journal.write_bytes(journal)
        first = study.trials()[0]
        shutil.rmtree(workspace.runs / first.run_id)
        await until(pilot, lambda: len(app.screen.query_one(Chart).curves) == 3)
        app.screen.query_one(TrialsTable).highlight("1")
        await pilot.press("enter")
        await showing(pilot, "The run of trial 1 is gone")
        (study.path / "recipe.toml").write_text("name = [")
        await showing(pilot, "Cannot", "recipe.toml")
        shutil.rmtree(study.path)
        await showing(pilot, "There is no study yet")


async def test_trials_do_not_drown_home_and_a_study_starts_from_there(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Study] = []
    monkeypatch.setattr("core.tune.start.start", lambda study, _: started.append(study))
    plain = make_run(workspace, "plain")
    make_study(workspace, trials=12)
    app = Workbench(workspace, open_run=plain.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("1")
        await showing(pilot, "runs  13, 12 trials hidden", "plain")
        assert "bard-003" not in screen_text(app)
        await pilot.press("slash", *"study:bard", "enter")
        await showing(pilot, "12 of 13 with", "bard-003")
        await pilot.press("escape", "z")
        await showing(pilot, "bard-003", "plain", "Trials of studies are listed.")
        assert load_ui_state(workspace.state).trials
        await pilot.press("z")
        app.screen.query_one(RunsList).highlight(plain.id)
        await until(pilot, lambda: "bard-003" not in screen_text(app))
        await pilot.press("s")
        await showing(pilot, "Study of plain", "train.batch_size = [")
        for name, value in (("trials", "0"), ("minutes", ""), ("parallel", "2")):
            app.screen.query_one(f"#{name}", Input).value = value
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "trials" in str(app.screen.query_one(".problem", Static).content))
        app.screen.query_one("#trials", Input).value = "6"
        app.screen.query_one(TextEditor).text = "train.lr = { low = 0.1, high = 0.01 }"
        await pilot.press("ctrl+r")
        await showing(pilot, "low 0.1 is above high 0.01")
        app.screen.query_one(TextEditor).text = "train.lr = [0.001, 0.002]"
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, StudyScreen))
        await showing(pilot, "study  plain", "0 of 6 trials")
        assert [(study.file.trials, study.file.parallel) for study in started] == [(6, 2)]
        await pilot.press("1", "n")
        await until(pilot, lambda: isinstance(app.screen, NewRun) and app.screen.result.resolved.recipe is not None)
        await pilot.press("s")
        await showing(pilot, "Study of stdlib")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, NewRun))
    assert len(started) == 1


async def test_a_running_trial_sends_few_bytes_at_each_tick(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes in truecolor, of an update of two steps; and none where nothing changes."""
    monkeypatch.setattr(CountingDriver, "sent", 0)
    (workspace.config / "config.toml").write_text("refresh_hz = 10\n")
    study = make_study(workspace, trials=12, endings=(finish, finish, fail))
    run = add_trial(study, workspace, {"train.lr": 0.003, "train.batch_size": 16, "model.n_layer": 4})
    worker, events = FakeWorker(run), list(trial_events(run))
    at = {event.step: place for place, event in enumerate(events) if isinstance(event, Metric)}
    worker.write_events(*events[: at[20]])
    write_launch(run)
    app, step = Workbench(workspace, driver_class=CountingDriver), 20
    with hold_locks(run):
        async with app.run_test(size=(80, 24)) as pilot:
            app._driver.__class__ = CountingDriver
            await pilot.press("6", "S")
            for size, budget in BUDGETS.items():
                await pilot.resize_terminal(*size)
                await showing(pilot, "study  bard", "1 training")
                await pilot.pause(1.0)
                updates = []
                for _ in range(4):
                    CountingDriver.sent = 0
                    worker.write_events(*events[at[step] : at[step + 2]])
                    step += 2
                    await pilot.pause(0.35)
                    updates.append(CountingDriver.sent)
                await until(pilot, lambda updates=updates: any(updates) or CountingDriver.sent)
                assert statistics.median(updates) <= budget, (size, updates)
                await pilot.pause(0.5)
                CountingDriver.sent = 0
                await pilot.pause(0.5)
                assert CountingDriver.sent <= 200, "nothing changed"
