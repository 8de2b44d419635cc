"""Writing what a chart or a table shows to files."""

from __future__ import annotations

from pathlib import Path

from core.storage.files import write_atomic
from llmtui.tui.widgets.chart import Chart
from llmtui.tui.widgets.curve import Curve
from llmtui.view.chart_export import ExportedChart, ExportedCurve, ExportedPoint, to_csv, to_json, to_svg
from llmtui.view.data_table import DataTable, table_csv, table_json
from llmtui.view.step_axis import XKind


def exported(chart: Chart, title: str) -> ExportedChart | None:
    """What `chart` shows; None while it is empty."""
    axis, scale = chart.axis, chart.scale
    if axis is None or scale is None:
        return None
    curves = [
        ExportedCurve(
            f"{curve.name} {curve.quantity}".rstrip(),
            curve.role,
            bool(curve.marks),
            _points(chart, curve),
            curve.band,
        )
        for curve in chart.curves
    ]
    return ExportedChart(title, chart.unit, axis, chart.dots, scale, chart.tick_format, curves)


def _points(chart: Chart, curve: Curve) -> list[ExportedPoint]:
    assert chart.axis is not None
    series, convert, history = curve.series, curve.convert, curve.history
    smooth = chart.smoothed(curve) if curve.smoothing else [None] * len(series)
    tokens, seconds = (history.positions(kind) if history else None for kind in (XKind.TOKENS, XKind.TIME))
    points = []
    for (step, mean), low, high, average in zip(series.means(), series.low, series.high, smooth, strict=True):
        x = curve.positions.at(step)
        if 0 <= chart.axis.dot(x) < chart.dots:
            places = tokens.at(step) if tokens else 0.0, seconds.at(step) if seconds else 0.0
            points.append(ExportedPoint(step, *places, convert(mean), convert(low), convert(high), average, x))
    return points


def write_chart(chart: ExportedChart, folder: Path, name: str) -> None:
    """Write `name`.csv, .json and .svg into `folder`, which is created. Raises OSError."""
    _write(folder, name, csv=to_csv(chart).encode(), json=to_json(chart), svg=to_svg(chart).encode())


def write_table(table: DataTable, folder: Path, name: str) -> None:
    """Write `name`.csv and .json into `folder`, which is created. Raises OSError."""
    _write(folder, name, csv=table_csv(table).encode(), json=table_json(table))


def _write(folder: Path, name: str, **files: bytes) -> None:
    """files: contents by suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, data in files.items():
        write_atomic(folder / f"{name}.{suffix}", data, durable=False)
