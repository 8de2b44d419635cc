"""Charts as files: the values shown, and a picture that is valid XML whatever a run is called."""

from __future__ import annotations

import csv
import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

from core.runs.comparison import mean_series
from core.runs.series import Series
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.chart_files import exported, write_chart
from llmtui.tui.widgets.chart import Chart
from llmtui.tui.widgets.curve import Curve
from llmtui.view.step_axis import Window
from tests.ui.fake_runs import finished_run
from tests.ui.pilot import screen_text, until


def series_of(values: list[float]) -> Series:
    series = Series()
    for step, value in enumerate(values, 1):
        series.add(step, value)
    return series


def drawn() -> Chart:
    chart = Chart("loss")
    chart.curves = [
        Curve("train", series_of([5.0 - step / 50 for step in range(200)]), "train", smoothing=0.9, convert=math.exp),
        Curve("<b>&\x1b[31m", series_of([4.0, 3.0]), "val", marks="•"),
    ]
    seeds = mean_series([series_of([4.0] * 99), series_of([4.5] * 99)])
    chart.curves.append(Curve("seeds", seeds, "run-1", band=True))
    chart.unit, chart.window, chart.last_step = "perplexity", Window(50.0, 100.0), 200
    chart.lines(80, 20)
    return chart


def test_the_files_hold_the_values_shown(tmp_path: Path) -> None:
    chart = exported(drawn(), "bard: loss")
    assert chart is not None
    write_chart(chart, tmp_path / "new", "loss")
    rows = list(csv.DictReader((tmp_path / "new/loss.csv").open()))
    train = [row for row in rows if row["curve"] == "train"]
    steps = [float(row["step"]) for row in train]
    assert steps[0] == 50 and steps[-1] == 100, "only the part in the window"
    assert math.isclose(float(train[0]["mean"]), math.exp(5.0 - 49 / 50), rel_tol=1e-9)
    assert train[0]["smoothed"] and not any(row["smoothed"] for row in rows if row["curve"] != "train")
    data = json.loads((tmp_path / "new/loss.json").read_bytes())
    assert data["unit"] == "perplexity" and data["curves"][0]["step"] == steps
    assert data["curves"][0]["mean"][0] == math.exp(5.0 - 49 / 50)


def test_the_picture_is_valid_and_without_control_characters(tmp_path: Path) -> None:
    chart = exported(drawn(), "</text><script>alert(1)</script>\x1b]0;x\x07")
    assert chart is not None
    write_chart(chart, tmp_path, "loss")
    text = (tmp_path / "loss.svg").read_text()
    tags = {element.tag.partition("}")[2] for element in ET.fromstring(text).iter()}
    assert tags == {"svg", "rect", "text", "clipPath", "path", "g"} and "\x1b" not in text
    (band,) = (line for line in text.splitlines() if "fill-opacity" in line)
    assert band.count("L") == 2 * 50 - 1, "the highest values of the 50 steps in the window and back along the lowest"


def test_an_empty_chart_has_nothing_to_save() -> None:
    chart = Chart("loss")
    chart.lines(80, 20)
    assert exported(chart, "loss") is None


async def test_e_saves_the_chart_and_says_where(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 60)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "loss, bits per byte" in screen_text(app))
        await pilot.press("e")
        await until(pilot, lambda: "is saved in" in screen_text(app))
    files = sorted(path.name for path in (workspace.data / "exports").iterdir())
    assert files == [f"{run.id}-loss-steps-0-60.{suffix}" for suffix in ("csv", "json", "svg")]
