"""The curves of a comparison: one for each run, or the mean of runs that differ only in the seed with their range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from core.runs.comparison import mean_series
from core.runs.series import Series
from llmtui.tui.chart_table import ChartEntry, CurveEntry
from llmtui.tui.widgets.curve import Curve
from llmtui.view.comparison import ComparedRun, Comparison
from llmtui.view.comparison_table import color_role
from llmtui.view.history import History
from llmtui.view.step_axis import XKind

Losses = Literal["training", "validation"]


class CurveSettings(NamedTuple):
    """What the curves depend on besides the runs."""

    losses: Losses
    smoothing: float
    x_kind: XKind
    expanded: frozenset[str]
    """Groups whose runs have curves of their own."""


def comparison_curves(
    entry: ChartEntry, comparison: Comparison, histories: Mapping[str, History], settings: CurveSettings
) -> list[tuple[str, Curve]]:
    """A curve for each run or group that has values, with its key (see `llmtui.view.comparison.RunGroup`).

    histories: by run id. The order is that of the numbers.
    """
    curve = entry.curves[settings.losses == "validation"]
    found: list[tuple[str, Curve]] = []
    for group in sorted(comparison.groups, key=lambda group: group.number):
        known = [(run, histories[run.snapshot.run.id]) for run in group.runs if run.snapshot.run.id in histories]
        if len(known) > 1 and group.key not in settings.expanded:
            found.append((group.key, _mean(curve, [history for _, history in known], group.runs[0], settings)))
            continue
        for run, history in known:
            series = history.finest(curve.series(history))
            smoothing = settings.smoothing if curve.smoothing is None else 0.0
            smooth = series.smoothed(smoothing, float, float) if smoothing else []
            drawn = _curve(curve, run, history, series, settings)
            newest = smooth[-1] if smooth else curve.series(history).last
            found.append((run.snapshot.run.id, drawn._replace(smoothing=smoothing, raw=False, newest=newest)))
    return found


def _mean(curve: CurveEntry, histories: list[History], first: ComparedRun, settings: CurveSettings) -> Curve:
    smoothing = settings.smoothing if curve.smoothing is None else 0.0
    series = mean_series([history.finest(curve.series(history)) for history in histories], smoothing)
    longest = max(histories, key=lambda history: history.curves.loss.end)
    return _curve(curve, first, longest, series, settings)._replace(
        name=f"{first.snapshot.run.name} ×{len(histories)}", band=True, newest=series.last
    )


def _curve(curve: CurveEntry, run: ComparedRun, history: History, series: Series, settings: CurveSettings) -> Curve:
    return Curve(
        run.snapshot.run.name,
        series,
        color_role(run.number),
        convert=curve.convert(history),
        unit=history.unit,
        positions=history.positions(settings.x_kind),
        approximate=curve.approximate(history),
        glyph=run.glyph,
        quantity=curve.name,
        history=history,
    )
