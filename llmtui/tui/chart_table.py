"""The charts of the Train screen, once: which series of the history each shows, and how its values are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from core.runs.series import Series
from llmtui.tui.widgets.axes import scientific, tick_label
from llmtui.view import units
from llmtui.view.history import History


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
    marks: bool = False
    """Draw each value as a mark instead of a line."""


class ChartEntry(NamedTuple):
    """One chart. At which terminal sizes it is shown is decided by `#id` in train.tcss."""

    id: str
    title: str
    curves: tuple[CurveEntry, ...]
    format: Callable[[float], str]
    """How the last value is written in the title."""
    tick_format: Callable[[float, float], str] = tick_label
    """How a tick is written, given its value and the distance between ticks."""


LOSS = ChartEntry(
    "loss",
    "loss",
    (
        CurveEntry("train", lambda history: history.loss, "train", smoothing=None),
        CurveEntry("val", lambda history: history.val, "val", marks=True),
    ),
    "{:.3f}".format,
)
"""The large chart; its axis is logarithmic if the user chose that, and its unit is that of the history."""

SMALL_CHARTS = (
    ChartEntry("lr", "lr", (CurveEntry("lr", lambda history: history.lr, "extra"),), scientific),
    ChartEntry("grad", "grad norm", (CurveEntry("grad", lambda history: history.grad_norm, "extra"),), "{:.2f}".format),
    ChartEntry(
        "speed",
        "tokens/s",
        (CurveEntry("speed", lambda history: history.speed, "extra", smoothing=0.9),),
        units.count,
        lambda value, step: units.count(value),
    ),
)
"""Side by side below the loss."""

CHARTS = (LOSS, *SMALL_CHARTS)
