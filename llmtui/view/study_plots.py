"""What the plots of a study show: points on two axes, for a widget that draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from llmtui.view.axes import tick_label
from llmtui.view.lines import Line


class PlotPoint(NamedTuple):
    """One trial."""

    x: float
    y: float
    role: str
    glyph: str = "•"


class Plot(NamedTuple):
    """Points, and a line of steps."""

    title: Line
    points: Sequence[PlotPoint] = ()
    """Later ones are drawn over earlier ones."""
    steps: Sequence[tuple[float, float]] = ()
    """Where a line changes its height; it stays there until the next."""
    x_log: bool = False
    x_tick: Callable[[float, float], str] = tick_label
    """How a tick of the x axis is written, given its value and the distance between ticks."""
    names: Sequence[str] = ()
    """What x = 0, 1, … stand for, where they are no numbers; sanitised."""
    placeholder: str = ""
    """Shown instead of a plot without points."""
    note: Line = []  # noqa: RUF012
    """Below the x axis."""
