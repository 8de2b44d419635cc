"""The Compare screen."""

from __future__ import annotations

import pytest

from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.compare import Compare
from llmtui.tui.settings import load_ui_state
from llmtui.tui.widgets.bars import Notice
from llmtui.tui.widgets.chart import Chart
from llmtui.tui.widgets.runs_list import RunsList
from llmtui.tui.widgets.table_pane import TablePane
from tests.ui.fake_runs import FakeWorker, events_before_training, make_run, training_events
from tests.ui.pilot import screen_text, until
from tests.ui.test_screens import assert_whole


def trained(workspace: Workspace, name: str, *overrides: str, steps: int = 200) -> str:
    run = make_run(workspace, name, *overrides)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, steps, steps))
    return run.id


@pytest.fixture
def runs(workspace: Workspace) -> list[str]:
    seeds = [trained(workspace, "base", f"train.seed={seed}", steps=100 * seed) for seed in (1, 2)]
    return [*seeds, trained(workspace, "wide", "model.n_embd=512")]


async def test_runs_marked_on_home_are_compared_with_seeds_as_one_curve(workspace: Workspace, runs: list[str]) -> None:
    trained(workspace, "other", "train.lr=1e-4")
    app = Workbench(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "other" in screen_text(app))
        for run_id in runs:
            app.screen.query_one(RunsList).highlight(run_id)
            await pilot.press("m")
        await until(pilot, lambda: screen_text(app).count("◆") == 3 and "◆ wide" in screen_text(app))
        await pilot.press("6")
        await until(pilot, lambda: "▸ base ×2" in screen_text(app) and "other" not in screen_text(app))
        chart, table = app.screen.query_one("#loss", Chart), app.screen.query_one(TablePane)
        await until(pilot, lambda: len(chart.curves) == 2 and chart.axis is not None)
        assert [curve.band for curve in chart.curves].count(True) == 1
        text = screen_text(app)
        assert "mean of the seeds up to step 100, which all have" in text
        assert "n_embd" in text and "512" in text and "spread of 2 seeds" in text and "n_head" not in text
        table.highlight(next(row.key for row in table.items if row.key.startswith("group")))
        await pilot.press("enter", "v", "left")
        await until(pilot, lambda: len(chart.curves) == 3 and "▾ base ×2" in screen_text(app))
        await until(pilot, lambda: f"at {chart.cursor or 0:,.0f}" in screen_text(app))
        table.highlight(runs[2])
        await pilot.press("b", "s")
        await until(pilot, lambda: "loss, validation" in screen_text(app) and "vs 3" in screen_text(app))
        assert "–" in screen_text(app), "the shorter run has no value there"
    assert set(load_ui_state(workspace.state).compared) == set(runs)


@pytest.mark.heavy
@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 60), (40, 10)])
async def test_every_view_is_whole(workspace: Workspace, runs: list[str], size: tuple[int, int]) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=size) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: "base" in screen_text(app))
        seen = set()
        for _ in range(3):
            await pilot.pause(0.2)
            app.screen.query_one(Notice).display = False  # it lies over the panes
            assert_whole(app)
            seen |= {word for word in ("╭ loss", "─ loss", "runs  by", "differences") if word in screen_text(app)}
            await pilot.press("w")
        assert len(seen) == 3, "the chart, the table and the differences"


async def test_runs_are_chosen_by_the_filter_of_home(workspace: Workspace, runs: list[str]) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: "wide" in screen_text(app))
        await pilot.press("c", *"n_embd=512", "enter", "escape")
        await until(pilot, lambda: isinstance(app.screen, Compare) and "wide" not in screen_text(app))
        assert set(app.session.ui_state.compared) == set(runs[:2])


async def test_without_runs_it_says_so(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: "no run has begun to train" in screen_text(app).lower())
        await pilot.press("b", "o", "E", "enter", "c")
        assert isinstance(app.screen, Compare)
        assert not any(map(app.screen.is_available, ("chart.unit", "chart.zoom_in", "compare.open", "compare.sort")))
        assert app.screen.is_available("compare.studies") and "The curves of the runs come here" in screen_text(app)
