"""The axes around a grid of dots."""

from __future__ import annotations

import itertools

import pytest

from llmtui.tui.widgets.canvas import Canvas
from llmtui.tui.widgets.plot_axes import y_axis_rows
from llmtui.view.axes import scale_for, tick_label


@pytest.mark.parametrize("height", range(3, 40))
@pytest.mark.parametrize("pair", [(0.0, 0.05), (0.0, 10.0), (1.4, 3.27), (3.0, 3.1)])
@pytest.mark.parametrize("log", [False, True])
def test_tick_labels_have_a_free_row_between_them(height: int, pair: tuple[float, float], log: bool) -> None:
    scale = scale_for([pair], log=log and pair[0] > 0)
    rows = ["".join(text for text, _ in line) for line in y_axis_rows(Canvas(20, height), scale, tick_label)]
    labelled = [number for number, row in enumerate(rows) if "┤" in row]
    assert labelled and all(b - a >= 2 for a, b in itertools.pairwise(labelled))
