"""The keys of the charts on the Train screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.runs.journal_window import StepWindow
from core.runs.series import Series
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.chart_detail import covers, wanted_steps
from llmtui.tui.screens.data_batch import BatchScreen
from llmtui.tui.screens.overlaid_screen import set_unit
from llmtui.tui.settings import load_ui_state
from llmtui.tui.widgets.bars import Notice
from llmtui.tui.widgets.chart import Chart
from llmtui.view.history import History
from llmtui.view.loss_unit import LossUnit
from llmtui.view.step_axis import Window
from tests.ui.fake_runs import finished_run, make_run
from tests.ui.pilot import screen_text, until
from tests.ui.test_screens import assert_whole


def charts(app: Workbench) -> list[str]:
    """Ids of the charts that are shown."""
    return [str(chart.id) for chart in app.screen.query(Chart) if chart.region.area]


async def test_the_keys_of_the_charts(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 300)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "loss, bits per byte" in screen_text(app))
        assert "train ≈" in screen_text(app)
        await pilot.press("u")
        await until(pilot, lambda: "loss, nats per token" in screen_text(app) and "train ≈" not in screen_text(app))
        await pilot.press("u")
        await until(pilot, lambda: "loss, perplexity" in screen_text(app))
        await pilot.press("a")
        await until(pilot, lambda: "1.00M" in screen_text(app))
        await pilot.press("v", "left", "pageup")
        await until(pilot, lambda: " tokens · " in screen_text(app))
        loss = app.screen.query_one("#loss", Chart)
        assert loss.cursor is not None and loss.cursor < 280
        curves, before = loss.curves, loss.cursor
        await pilot.press("left")
        assert loss.cursor < before and loss.curves is curves, "the cursor moved, and the curves were made again"
        await pilot.press("plus", "plus")
        await until(pilot, lambda: loss.window.width is not None)
        first, last = loss.window.bounds(300)
        assert first <= loss.cursor <= last and last - first == pytest.approx(75)
        await pilot.press("escape")
        assert loss.cursor is None and loss.window.width is not None
        await pilot.press("0")
        assert loss.window.width is None
        await pilot.click(loss, offset=(40, 5))
        assert loss.cursor is not None and loss.axis is not None
        assert loss.axis.dot(loss.curves[0].positions.at(loss.cursor)) // 2 == 40 - 9
    saved = load_ui_state(workspace.state)
    assert (saved.unit, saved.x_axis) == ("perplexity", "tokens")


@pytest.mark.heavy
@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 60)])
async def test_every_layout_of_the_charts_is_whole(workspace: Workspace, size: tuple[int, int]) -> None:
    run = finished_run(workspace, "bard", 300)
    app = Workbench(workspace, open_run=run.id)
    seen = set()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: charts(app))
        for _ in range(3):
            await pilot.press("w")
            await pilot.pause(0.2)
            app.screen.query_one(Notice).display = False  # it lies over the panes
            seen.add(tuple(charts(app)))
            assert_whole(app)
        assert ("loss",) in seen and len(seen) == 3
        if charts(app) == ["loss"]:
            await pilot.press("w")
        for _ in range(12):
            await pilot.press("tab")
            if isinstance(app.focused, Chart) and app.focused.id != "loss":
                break
        assert app.focused is not None
        focused = app.focused.id
        await pilot.press("f")
        await until(pilot, lambda: charts(app) == [focused])
        app.screen.query_one(Notice).display = False
        assert_whole(app)
        await pilot.press("escape")
        await until(pilot, lambda: len(charts(app)) > 1)


async def test_runs_are_laid_over_the_one_shown_in_one_unit(workspace: Workspace) -> None:
    finished_run(workspace, "other", 200)
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "loss, bits per byte" in screen_text(app))
        await pilot.press("o", "enter")
        await until(pilot, lambda: "✓ other" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "1 other ≈" in screen_text(app) and "└0" in screen_text(app))
        loss = app.screen.query_one("#loss", Chart)
        await until(pilot, lambda: loss.axis is not None and loss.axis.high >= 200)
        roles = {role for line in loss._content for text, role in line if "1" in text}
        assert "run-1" in roles, "no digit on the curve: only its colour tells it from others"
        await pilot.press("o", "enter", "escape")
        await until(pilot, lambda: "1 other" not in screen_text(app))


def test_a_run_without_bits_per_byte_puts_all_losses_into_nats(workspace: Workspace) -> None:
    known, unknown = (History(make_run(workspace, name)) for name in ("known", "unknown"))
    known.curves.bytes_per_token = 3.5
    set_unit([known, unknown], LossUnit.BITS)
    assert known.unit is unknown.unit is LossUnit.NATS
    set_unit([known], LossUnit.BITS)
    assert known.unit is LossUnit.BITS


async def test_enter_opens_the_batch_of_the_step_at_the_cursor(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 60)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "loss, bits per byte" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "v shows a cursor first" in screen_text(app))
        await pilot.press("v", "left", "left")
        step = app.screen.query_one("#loss", Chart).cursor
        assert step is not None
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, BatchScreen) and app.screen.step == step)


def test_steps_are_read_where_the_curves_are_too_coarse(tmp_path: Path) -> None:
    series = Series()
    for step in range(10_000):
        series.add(step, 1.0)
    assert wanted_steps(series, Window(), 9999) is None
    assert wanted_steps(series, Window(9000.0, 9500.0), 9999) is None
    assert wanted_steps(series, Window(1000.0, 5000.0), 9999) == (3750, 5250)
    assert wanted_steps(series, Window(1000.0, 1000.0), 9999) == (0, 1250)
    detail = StepWindow(tmp_path, 3750, 5250)
    assert covers(detail, Window(1000.0, 5200.0), 9999) and not covers(detail, Window(1000.0, 5300.0), 9999)
    assert not covers(detail, Window(100.0, 4000.0), 9999), "its buckets are too large"


@pytest.mark.heavy
async def test_zooming_into_a_long_run_shows_its_single_steps(workspace: Workspace) -> None:
    run = finished_run(workspace, "long", 3000)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "loss, bits per byte" in screen_text(app))
        loss = app.screen.query_one("#loss", Chart)
        assert loss.curves[0].series.span == 4
        await pilot.press("plus", "plus", "plus")
        await until(pilot, lambda: loss.curves[0].series.span == 1)
        await pilot.press("v", "left")
        assert "mean of steps" not in screen_text(app)
        await pilot.press("0")
        await until(pilot, lambda: loss.curves[0].series.span == 4)
