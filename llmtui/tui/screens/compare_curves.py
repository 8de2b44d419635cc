"""The curves of a comparison: one for each run, or the mean of runs that differ only in the seed with their range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from core.runs.comparison import mean_series
from core.runs.series import Series
from llmtui.tui.chart_table import ChartEntry, CurveEntry
from llmtui.tui.widgets.curve import Curve
from llmtui.view.comparison import ComparedRun, Comparison, RunGroup
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


class ComparisonCurves:
    """Makes the curves, and keeps means that have not changed: those of twelve long runs take a fifth of a second."""

    def __init__(self) -> None:
        self._means: dict[str, tuple[object, Series]] = {}
        """By key of a group, what its mean was made of, and the mean."""
        self._newest: dict[str, tuple[object, float | None]] = {}
        """By run id, what its newest average was made of, and the average."""
        self.common_end: int | None = None
        """The last step of a mean whose runs are not all of one length: it ends with the shortest of them."""

    def made(
        self,
        entry: ChartEntry,
        comparison: Comparison,
        histories: Mapping[str, History],
        settings: CurveSettings,
    ) -> list[tuple[str, Curve]]:
        """A curve for each run or group, with its key (see `llmtui.view.comparison.RunGroup`), by number.

        histories: by run id.
        """
        curve = entry.curves[settings.losses == "validation"]
        smoothing = settings.smoothing if curve.smoothing is None else 0.0
        found: list[tuple[str, Curve]] = []
        self.common_end = None
        for group in sorted(comparison.groups, key=lambda group: group.number):
            if len(group.runs) > 1 and group.key not in settings.expanded:
                members = [histories[run.snapshot.run.id] for run in group.runs]
                found.append((group.key, self._mean(curve, group, members, smoothing, settings.x_kind)))
                continue
            for run in group.runs:
                history = histories[run.snapshot.run.id]
                series = history.finest(curve.series(history))
                drawn = _curve(curve, run, history, series, settings.x_kind)
                newest = self._newest_average(run.snapshot.run.id, series, smoothing)
                found.append((run.snapshot.run.id, drawn._replace(smoothing=smoothing, raw=False, newest=newest)))
        return found

    def _mean(
        self, curve: CurveEntry, group: RunGroup, histories: Sequence[History], smoothing: float, x_kind: XKind
    ) -> Curve:
        all_series = [history.finest(curve.series(history)) for history in histories]
        made_of = smoothing, [_state(series) for series in all_series]
        if group.key not in self._means or self._means[group.key][0] != made_of:
            self._means[group.key] = made_of, mean_series(all_series, smoothing)
        series = self._means[group.key][1]
        if max(each.end for each in all_series) >= series.end + 2 * series.span and series.index:
            self.common_end = min(series.end, series.end if self.common_end is None else self.common_end)
        longest = max(histories, key=lambda history: history.curves.loss.end)
        drawn = _curve(curve, group.runs[0], longest, series, x_kind)
        name = f"{group.runs[0].snapshot.run.name} ×{len(histories)}"
        return drawn._replace(name=name, band=True, newest=series.last)

    def _newest_average(self, run_id: str, series: Series, smoothing: float) -> float | None:
        made_of = smoothing, _state(series)
        if run_id not in self._newest or self._newest[run_id][0] != made_of:
            newest = series.smoothed(smoothing, float, float)[-1] if smoothing and series.index else series.last
            self._newest[run_id] = made_of, newest
        return self._newest[run_id][1]


def _state(series: Series) -> object:
    """Changes whenever the values of `series` do."""
    return series, series.revised, len(series), series.total[-1:]


def _curve(curve: CurveEntry, run: ComparedRun, history: History, series: Series, x_kind: XKind) -> Curve:
    return Curve(
        run.snapshot.run.name,
        series,
        color_role(run.number),
        convert=curve.convert(history),
        unit=history.unit,
        positions=history.positions(x_kind),
        approximate=curve.approximate(history),
        glyph=run.glyph,
        quantity=curve.name,
        history=history,
    )
