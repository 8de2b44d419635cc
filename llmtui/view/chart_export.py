"""Curves of a chart as CSV, JSON, and an SVG picture."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

import msgspec

from llmtui.view.axes import Scale
from llmtui.view.sanitize import shown
from llmtui.view.step_axis import XAxis

_WIDTH, _HEIGHT = 960, 540
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 60, 50
"""Pixels of the picture and of its margins."""

_INK = "#1a1c1f"

COLORS = {
    "train": "#0b62c4", "val": "#b45309", "extra": "#7044b8", "run-1": "#18794e", "run-2": "#b0306a",
    "run-3": "#7a6a00", "run-4": "#0b7285", "run-5": "#8a4b1a", "run-6": "#5b6270",
}  # fmt: skip
"""By role, on white: a picture is for documents, whatever the theme of the terminal."""

COLUMNS = ("curve", "step", "tokens", "seconds", "mean", "lowest", "highest", "smoothed")


class ExportedPoint(NamedTuple):
    """One bucket of steps; values are in the unit of the chart."""

    step: float
    """The middle of the bucket."""
    tokens: float
    seconds: float
    mean: float
    lowest: float
    highest: float
    smoothed: float | None
    """None: the curve is not smoothed."""
    x: float
    """Position on the x axis of the chart."""


class ExportedCurve(NamedTuple):
    """One curve."""

    name: str
    role: str
    marks: bool
    """Single values, without a line."""
    points: Sequence[ExportedPoint]
    band: bool = False
    """A range from the lowest to the highest value around the mean."""


class ExportedChart(NamedTuple):
    """What a chart shows."""

    title: str
    unit: str
    x_axis: XAxis
    dots: int
    """Columns of the x axis."""
    y_axis: Scale
    y_label: Callable[[float, float], str]
    curves: Sequence[ExportedCurve]


def to_csv(chart: ExportedChart) -> str:
    """A line for each bucket of each curve, with the columns `COLUMNS`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve in chart.curves:
        for point in curve.points:
            writer.writerow([shown(curve.name), *("" if value is None else f"{value:.10g}" for value in point[:-1])])
    return out.getvalue()


def to_json(chart: ExportedChart) -> bytes:
    """An object with the title, the unit and a list of values for each column of each curve."""
    curves = [
        {"name": shown(curve.name)}
        | {name: [point[index] for point in curve.points] for index, name in enumerate(COLUMNS[1:])}
        for curve in chart.curves
    ]
    return msgspec.json.encode({"title": chart.title, "unit": chart.unit, "curves": curves})


def to_svg(chart: ExportedChart) -> str:
    """A picture of the chart on white, in the same part of the axes."""
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    steps = 10_000
    to_dot = chart.y_axis.dot_mapper(steps)

    def x(position: float) -> float:
        return _LEFT + chart.x_axis.distance(position) / max(1, chart.dots - 1) * (right - _LEFT)

    def y(value: float) -> float:
        return bottom - to_dot(value) / (steps - 1) * (bottom - _TOP)

    unit = f", {chart.unit}" if chart.unit else ""
    area = f'x="{_LEFT}" y="{_TOP}" width="{right - _LEFT}" height="{bottom - _TOP}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="13" fill="{_INK}">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 24, chart.title + unit, 'font-size="16"'),
        f'<clipPath id="area"><rect {area}/></clipPath>',
    ]
    ticks = chart.y_axis.ticks(6)
    step = min((b - a for a, b in itertools.pairwise(ticks)), default=1.0)
    for tick in ticks:
        parts.append(f'<path d="M{_LEFT} {y(tick):.1f}H{right}" stroke="#e2e2e0"/>')
        parts.append(_text(_LEFT - 8, y(tick) + 4, chart.y_label(tick, step), 'text-anchor="end"'))
    for at, label in chart.x_axis.ticks(8):
        if _LEFT <= x(at) <= right:
            parts.append(_text(x(at), bottom + 20, label, 'text-anchor="middle"'))
    parts.append(_text(right, bottom + 40, chart.x_axis.kind, 'text-anchor="end"'))
    parts.append('<g clip-path="url(#area)" fill="none" stroke-linejoin="round">')
    for curve in chart.curves:
        color = COLORS.get(curve.role, _INK)
        raw = [(x(point.x), y(point.mean)) for point in curve.points]
        smooth = [(x(point.x), y(point.smoothed)) for point in curve.points if point.smoothed is not None]
        if curve.marks:
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{color}"/>' for a, b in raw]
        else:
            if curve.band:
                edges = [(x(point.x), y(point.highest)) for point in curve.points]
                edges += [(x(point.x), y(point.lowest)) for point in reversed(curve.points)]
                parts.append(_path(edges, "none", f'fill="{color}" fill-opacity="0.18"'))
            parts += [_path(raw, color, 'stroke-opacity="0.3"')] if smooth else []
            parts.append(_path(smooth or raw, color, 'stroke-width="1.8"'))
    parts.append("</g>")
    at = float(_LEFT)
    for curve in chart.curves:
        legend = f"{'•' if curve.marks else '━'} {shown(curve.name, 40)}"
        parts.append(_text(at, 46, legend, f'fill="{COLORS.get(curve.role, _INK)}"'))
        at += 8 * len(legend) + 20
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(shown(text, 200))}</text>'


def _path(points: Sequence[tuple[float, float]], color: str, style: str) -> str:
    line = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    return f'<path d="M{line}" stroke="{color}" {style}/>' if points else ""
