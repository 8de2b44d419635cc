"""The charts of the Train screen, once: which series of the history each shows, and how its values are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from core.runs.series import Series
from llmtui.tui.widgets.curve import Curve
from llmtui.view import units
from llmtui.view.axes import scientific, tick_label
from llmtui.view.history import History
from llmtui.view.loss_unit import LossUnit
from llmtui.view.step_axis import Positions


class CurveEntry(NamedTuple):
    """One curve of a chart."""

    name: str
    """In the legend."""
    series: Callable[[History], Series]
    """Its values."""
    role: str
    """Its style: a role of `llmtui.tui.widgets.pane.ROLES`."""
    smoothing: float | None = 0.0
    """Weight of the past in its moving average; 0 draws the values, None takes what the user chose."""
    marks: str = ""
    """Draw each value as this character instead of a line."""
    convert: Callable[[History], Callable[[float], float]] = lambda _: float
    """Gives a value of the series in the unit of the chart."""
    approximate: Callable[[History], bool] = lambda _: False
    """Whether that is an approximation."""

    def curve(self, history: History, positions: Positions, smoothing: float) -> Curve:
        """The curve of a run. positions: its steps on the x axis. smoothing: what the user chose."""
        return Curve(
            self.name,
            self.series(history),
            self.role,
            smoothing if self.smoothing is None else self.smoothing,
            self.marks,
            self.convert(history),
            history.unit,
            positions,
            approximate=self.approximate(history),
        )


class ChartEntry(NamedTuple):
    """One chart. At which terminal sizes it is shown is decided by `#id` in train.tcss."""

    id: str
    title: str
    curves: tuple[CurveEntry, ...]
    format: Callable[[float], str]
    """How a value is written in the title."""
    tick_format: Callable[[float, float], str] = tick_label
    """How a tick is written, given its value and the distance between ticks."""
    whole: tuple[float, float] | None = None
    """Lowest and highest value that the y axis always has, of a share."""


LOSS = ChartEntry(
    "loss",
    "loss",
    (
        CurveEntry(
            "train",
            lambda history: history.curves.loss,
            "train",
            smoothing=None,
            convert=lambda history: history.converter,
            approximate=lambda history: history.unit is LossUnit.BITS,
        ),
        CurveEntry("val", lambda history: history.val[0], "val", marks="•", convert=lambda history: history.val[1]),
    ),
    "{:.3f}".format,
)
"""The large chart; its axis is logarithmic if the user chose that, and its unit is that of the history."""

SMALL_CHARTS = (
    ChartEntry("lr", "lr", (CurveEntry("lr", lambda history: history.curves.lr, "extra"),), scientific),
    ChartEntry(
        "grad", "grad norm", (CurveEntry("grad", lambda history: history.curves.grad_norm, "extra"),), "{:.2f}".format
    ),
    ChartEntry(
        "speed",
        "tokens/s",
        (CurveEntry("speed", lambda history: history.curves.speed, "extra", smoothing=0.9),),
        units.count,
        lambda value, step: units.count(value),
    ),
    ChartEntry(
        "use",
        "utilisation",
        (CurveEntry("use", lambda history: history.curves.utilisation, "extra"),),
        lambda value: f"{100 * value:.0f} %",
        lambda value, step: f"{units.count(round(100 * value, 1))} %",
        (0.0, 1.0),  # else 99.7 and 99.8 % would be far apart
    ),
)
"""Beside or below the loss, in this order."""

CHARTS = (LOSS, *SMALL_CHARTS)
