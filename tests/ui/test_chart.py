"""Charts: columns stay in place, values that are not finite leave a gap, and a million points fit."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.runs.series import CAPACITY, Series
from llmtui.tui.widgets.chart import Chart
from llmtui.tui.widgets.curve import Curve
from llmtui.view.axes import nice_step, scale_for, tick_label
from llmtui.view.step_axis import Positions, Window, XKind, whole_axis


def series_of(values: list[float], first: int = 0) -> Series:
    series = Series()
    for step, value in enumerate(values, first):
        series.add(step, value)
    return series


def pace_of(end: int, dots: int) -> float:
    """Dots per step of a run that is active."""
    return whole_axis(XKind.STEP, 1.0, float(end), dots, log=False, finished=False).dots_per_unit


def test_buckets_keep_the_extremes_and_the_mean_of_their_steps() -> None:
    values = [math.sin(step) for step in range(10_000)]
    series = series_of(values)
    assert series.span == 16 and len(series) == 625
    for number, low, high, (x, mean) in zip(series.index, series.low, series.high, series.means(), strict=True):
        held = values[number * 16 : number * 16 + 16]
        assert (low, high) == (min(held), max(held))
        assert mean == pytest.approx(sum(held) / 16) and x == number * 16 + 7.5


@pytest.mark.heavy
def test_a_million_steps_fit_the_capacity() -> None:
    series = Series()
    for step in range(1_000_000):
        series.add(step, 1.0)
    assert len(series) <= CAPACITY


def test_old_buckets_never_change_between_merges() -> None:
    series = series_of([float(step % 7) for step in range(1500)])
    before = list(zip(series.index, series.low, series.high, strict=True))[:-1]
    for step in range(1500, 2000):
        series.add(step, 3.0)
    assert series.span == 2
    assert list(zip(series.index, series.low, series.high, strict=True))[: len(before)] == before


def test_smoothing_is_the_debiased_average_of_the_points() -> None:
    series = series_of([5.0, 3.0, 4.0])
    expected, smooth, weight = [], 0.0, 0.0
    for value in (5.0, 3.0, 4.0):
        smooth, weight = 0.9 * smooth + 0.1 * value, 0.9 * weight + 0.1
        expected.append(smooth / weight)
    assert series.smoothed(0.9, float, float) == pytest.approx(expected)
    assert expected[0] == 5.0, "without the correction it would start at 0.5"


def test_smoothing_on_a_logarithmic_axis_averages_logarithms() -> None:
    assert series_of([1.0, 100.0]).smoothed(0.5, math.log, math.exp)[1] == pytest.approx(100 ** (2 / 3))


def test_resuming_removes_values_after_the_checkpoint() -> None:
    series = series_of([float(step) for step in range(100)])
    series.truncate_after(49)
    assert series.end == 49 and series.last == 49.0
    series.add(50, 7.0)
    assert series.means()[-1] == (50.0, 7.0)


def test_values_that_are_not_finite_leave_a_gap() -> None:
    series = series_of([1.0, math.nan, math.inf, 2.0])
    assert series.broken == [1, 2] and series.low == [1.0, 2.0]


@given(st.floats(1e-12, 1e12))
def test_tick_steps_are_one_two_or_five(raw: float) -> None:
    step = nice_step(raw)
    assert raw <= step * (1 + 1e-6) and step < 2.6 * raw
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1.0, 2.0, 5.0)


@example([5e-324], False)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.booleans())
def test_ticks_lie_on_the_axis_and_respect_the_limit(values: list[float], log: bool) -> None:
    scale = scale_for([(value, value) for value in values], log=log)
    ticks = scale.ticks(4)
    assert len(ticks) <= 6
    slack = 1e-9 * (abs(scale.low) + abs(scale.high))
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in ticks)
    assert all(0 <= scale.to_dot(value, 40) < 40 for value in values)


def test_single_spikes_do_not_extend_the_axis() -> None:
    pairs = [(2.0, 2.5)] * 100 + [(2.0, 90.0)]
    assert scale_for(pairs, log=False).high < 4


@given(st.integers(10, 100_000), st.integers(40, 400))
def test_the_curve_fits_and_is_compressed_only_at_the_edge(end: int, dots: int) -> None:
    pace = pace_of(end, dots)
    assert pace * (end + 1) <= dots
    if end >= dots:
        assert pace * (end + 1) >= dots * 0.6
    if pace * (end + 2) <= dots:
        assert pace_of(end + 1, dots) == pace


def test_tick_labels_have_the_decimals_their_distance_needs() -> None:
    assert [tick_label(value, 0.5) for value in (2.0, 2.5)] == ["2.0", "2.5"]
    assert tick_label(5e-4, 1e-4) == "5e-4" and tick_label(0, 1) == "0"


def rows(chart: Chart, width: int = 60, height: int = 12) -> list[str]:
    return ["".join(text for text, _ in line) for line in chart.lines(width, height)]


def test_columns_stay_in_place_while_the_curve_grows() -> None:
    chart = Chart("loss")
    loss = series_of([8.0 / (1 + step / 50) + 1 for step in range(70)], 1)
    chart.curves = [Curve("train", loss, "train")]
    before = rows(chart)
    for step in range(71, 78):
        loss.add(step, 8.0 / (1 + step / 50) + 1)
    after = rows(chart)
    plotted = 7 + int(70 * pace_of(70, 106)) // 2
    assert [row[:plotted] for row in after[:-1]] == [row[:plotted] for row in before[:-1]]
    assert before != after


@pytest.mark.parametrize("smoothing", [0.0, 0.9])
@pytest.mark.parametrize("log", [False, True], ids=["linear", "log"])
def test_a_growing_chart_equals_one_drawn_at_once(smoothing: float, log: bool) -> None:
    grows, loss, dice = Chart("loss"), Series(), random.Random(1)
    grows.logarithmic = log

    def add(first: int, last: int) -> None:
        for step in range(first, last):
            loss.add(step, math.nan if step == 700 else 8.0 / (1 + step / 50) + dice.random() + 4 * (step % 97 == 0))

    def drawn_at_once() -> list[str]:
        fresh = Chart("loss")
        fresh.logarithmic, fresh.curves, fresh.finished = log, grows.curves, grows.finished
        return rows(fresh, 90, 20)

    grows.curves = [Curve("train", loss, "train", smoothing), Curve("val", series_of([5.0], 40), "val", marks="•")]
    ends = [1, 2, 3, 40, 41, 500, 1023, 1024, 1025, 1026, 1500, 2049, 2300]  # past two mergers of buckets
    for first, last in itertools.pairwise([0, *ends]):
        add(first, last)
        assert rows(grows, 90, 20) == drawn_at_once(), last
    loss.truncate_after(1200)  # the run is resumed there
    assert rows(grows, 90, 20) == drawn_at_once()
    add(1201, 1300)
    grows.finished = True
    assert rows(grows, 90, 20) == drawn_at_once()
    grows.curves = [Curve("train", series_of([3.0, 2.0, 1.0]), "train", smoothing)]  # another run
    assert rows(grows, 90, 20) == drawn_at_once()


def test_series_differ_by_shape_not_only_by_colour() -> None:
    chart = Chart("loss")
    chart.curves = [
        Curve("train", series_of([3.0 - step / 100 for step in range(100)]), "train", smoothing=0.9),
        Curve("val", series_of([5.0], 50), "val", marks="•"),
    ]
    text = "\n".join(rows(chart))
    assert "•" in text and any(0x2800 < ord(char) < 0x2900 for char in text)
    legend = "".join(part for part, _ in chart.heading(60))
    assert "━ train" in legend and "• val" in legend


def test_the_axis_marks_steps_whose_loss_was_not_finite() -> None:
    chart = Chart("loss")
    chart.curves = [Curve("train", series_of([2.0, 3.0, math.nan, 2.0, 1.0]), "train")]
    assert "✗" in rows(chart)[-1]


def test_the_cursor_shows_the_value_and_the_average_at_its_step_in_the_title() -> None:
    chart = Chart("loss")
    chart.curves = [
        Curve("train", series_of([4.0, 2.0, 3.0, 1.0]), "train", smoothing=0.5),
        Curve("val", series_of([2.5], 1), "val", marks="•"),
    ]
    chart.cursor = 2.0
    title = "".join(part for part, _ in chart.heading(80))
    average = series_of([4.0, 2.0, 3.0]).smoothed(0.5, float, float)[-1]
    assert f"train 3.000 ({average:.3f})" in title and "val 2.500 at 1" in title
    chart.lines(60, 12)
    assert chart.axis is not None
    column = 7 + chart.axis.dot(2.0) // 2
    assert all(row[column] != " " for row in rows(chart)[:-1]), "the line of the cursor has a gap"


def test_a_window_scales_the_y_axis_to_its_own_values() -> None:
    chart = Chart("loss")
    chart.curves = [Curve("train", series_of([100.0 / (1 + step) for step in range(200)]), "train")]
    chart.window, chart.last_step = Window(50.0, 199.0), 199
    labels = [float(row[:6]) for row in rows(chart)[:-1] if row[:6].strip()]
    assert labels and max(labels) < 1
    chart.window = Window()
    assert max(float(row[:6]) for row in rows(chart)[:-1] if row[:6].strip()) > 5


def test_the_lower_part_of_the_values_is_shown_and_higher_ones_are_marked() -> None:
    chart = Chart("loss")
    chart.curves = [Curve("train", series_of([2.0 + 6.0 / (1 + step) for step in range(60)]), "train")]
    chart.y_share = 0.25
    plotted = rows(chart)
    assert max(float(row[:6]) for row in plotted[:-1] if row[:6].strip()) < 4
    assert "▲" in plotted[0]


def test_a_curve_drawn_by_tokens_takes_the_place_of_its_tokens() -> None:
    chart, tokens = Chart("loss"), series_of([step**2 * 100.0 for step in range(100)])
    chart.curves = [Curve("train", series_of([1.0] * 100), "train", positions=Positions(tokens))]
    chart.x_kind, chart.finished = XKind.TOKENS, True
    assert "500k" in rows(chart)[-1]
    assert chart.axis is not None
    assert chart.axis.dot(50**2 * 100.0) == pytest.approx(chart.axis.dot(99**2 * 100.0) / 4, rel=0.05)


def test_a_change_of_unit_redraws_columns_that_are_kept() -> None:
    chart, series = Chart("loss"), series_of([1.0 + step / 10 for step in range(50)])
    chart.curves = [Curve("train", series, "train")]
    rows(chart)
    chart.curves = [Curve("train", series, "train", convert=math.exp, unit="perplexity")]
    fresh = Chart("loss")
    fresh.curves = chart.curves
    assert rows(chart) == rows(fresh)


@pytest.mark.parametrize("width", range(0, 80, 7))
@pytest.mark.parametrize("height", range(0, 12, 3))
def test_no_size_is_too_small_to_draw(width: int, height: int) -> None:
    chart = Chart("loss")
    chart.curves = [Curve("train", series_of([2.0, 3.0, 1.0]), "train")]
    chart.lines(width, height)
