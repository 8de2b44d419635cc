"""Every chart of the table is complete."""

from __future__ import annotations

from collections import Counter

import pytest

from core.runs.series import Series
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.chart_table import CHARTS, ChartEntry
from llmtui.tui.widgets.chart import Chart
from llmtui.tui.widgets.pane import ROLES
from llmtui.view.history import History
from tests.ui.fake_runs import finished_run, make_run
from tests.ui.pilot import screen_text, until


@pytest.mark.parametrize("entry", CHARTS, ids=lambda entry: entry.id)
def test_every_chart_is_complete(workspace: Workspace, entry: ChartEntry) -> None:
    history = History(make_run(workspace, "empty"))
    assert entry.curves, f"the chart {entry.id} has no curve"
    for curve in entry.curves:
        assert isinstance(curve.series(history), Series), f"{entry.id}: {curve.name} is not a series of the history"
        assert curve.role in ROLES, f"{entry.id}: {curve.name} has the role {curve.role!r}, which is not in ROLES"
    assert 0 < len(entry.format(1234.5678)) <= 9, f"{entry.id}: its format is too long for the title"
    assert 0 < len(entry.tick_format(1234.5, 0.5)) <= 6, f"{entry.id}: its ticks are too long for the axis"


def test_ids_of_charts_are_unique() -> None:
    twice = [name for name, count in Counter(entry.id for entry in CHARTS).items() if count > 1]
    assert not twice, f"two charts have the id {twice[0]!r}"


@pytest.mark.heavy
async def test_every_chart_is_shown_where_there_is_space_for_all(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(200, 60)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app))
        for entry in CHARTS:
            chart = app.screen.query_one(f"#{entry.id}", Chart)
            await until(pilot, lambda chart=chart: chart.display and chart.size and chart.curves)
            assert f" {entry.title}" in screen_text(app), f"the chart {entry.id} is not on the screen"
