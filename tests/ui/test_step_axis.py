"""The x axis of charts: kinds of positions, the window, the cursor's steps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.runs.series import Series
from llmtui.view.loss_unit import LossUnit
from llmtui.view.step_axis import (
    NARROWEST,
    Positions,
    Window,
    XKind,
    containing,
    next_step,
    panned,
    whole_axis,
    window_axis,
    zoomed,
)

windows = st.builds(Window, st.none() | st.floats(NARROWEST, 1e6), st.none() | st.floats(0, 1e6))
lasts = st.floats(10, 1e6)


@given(windows, lasts, st.floats(0.1, 10), st.none() | st.floats(0, 1))
def test_zooming_stays_within_the_run(window: Window, last: float, factor: float, share: float | None) -> None:
    around = None if share is None else share * last
    first, end = zoomed(window, factor, last, around).bounds(last)
    assert 0 <= first < end
    assert end <= last * 1.2 + NARROWEST, "more than an eighth of the window lies beyond the newest step"


def test_zooming_in_keeps_the_cursor_in_its_place() -> None:
    window = zoomed(Window(400.0, 800.0), 0.5, 1000.0, 700.0)
    first, end = window.bounds(1000.0)
    assert (end - first) == 200.0 and (700.0 - first) / 200.0 == pytest.approx(0.75)


def test_zooming_without_a_cursor_follows_the_newest_steps_and_out_again_shows_all() -> None:
    window = zoomed(Window(), 0.5, 1000.0)
    assert window == Window(500.0) and window.bounds(1000.0)[1] >= 1000.0
    assert window.bounds(1001.0)[1] >= 1001.0
    assert zoomed(window, 2.0, 1000.0) == Window()


def test_panning_left_stops_following_and_panning_to_the_end_follows_again() -> None:
    window = panned(Window(200.0), -0.25, 1000.0)
    assert window == Window(200.0, 950.0)
    assert panned(window, 0.25, 1000.0) == Window(200.0)
    assert panned(Window(200.0, 200.0), -0.25, 1000.0).bounds(1000.0) == (0.0, 200.0)
    assert panned(Window(), 0.25, 1000.0) == Window()


def test_a_followed_window_moves_in_jumps() -> None:
    ends = {Window(80.0).bounds(float(last))[1] for last in range(1000, 1080)}
    assert len(ends) <= 9


@given(windows, lasts, st.floats(0, 1))
def test_a_window_moves_to_contain_a_step(window: Window, last: float, share: float) -> None:
    first, end = containing(window, share * last, last).bounds(last)
    assert first - 1e-6 <= share * last <= end + 1e-6


def test_positions_interpolate_between_buckets_and_back() -> None:
    tokens = Series()
    for step in range(1, 5000):
        tokens.add(step, 4096.0 * step)
    positions = Positions(tokens)
    for moment in (0.0, 1.0, 2.5, 777.0, 4999.0, 6000.0):
        assert positions.at(moment) == pytest.approx(4096 * moment, rel=1e-6, abs=1e-6)
        assert positions.step_at(4096 * step) == pytest.approx(step, rel=1e-6, abs=1e-6)
    assert Positions(Series()).at(5.0) == 0.0
    assert Positions().at(5.0) == 5.0


def test_positions_rise_even_where_a_clock_was_set_back() -> None:
    seconds = Series()
    for step, value in enumerate([0.0, 10.0, 3.0, 20.0]):
        seconds.add(step, value)
    positions = Positions(seconds)
    places = [positions.at(step / 4) for step in range(13)]
    assert places == sorted(places)


@given(
    st.sampled_from(XKind), st.floats(0, 1e12), st.floats(0, 1e12), st.integers(2, 400), st.booleans(), st.booleans()
)
def test_every_axis_contains_what_it_is_for(
    kind: XKind, low: float, end: float, dots: int, log: bool, finished: bool
) -> None:
    axis = whole_axis(kind, min(low, end), end, dots, log=log, finished=finished)
    assert 0 <= axis.dot(end) < dots or (log and end == 0)
    for shown in (axis, window_axis(kind, min(low, end), max(low, end), dots, log=log)):
        ticks = shown.ticks(6)
        assert len(ticks) <= 16
        assert all(label for _, label in ticks)


@pytest.mark.parametrize(
    ("kind", "end", "labels"),
    [
        (XKind.STEP, 1000.0, ["0", "200", "400", "600", "800", "1,000"]),
        (XKind.TOKENS, 4e6, ["0", "1.00M", "2.00M", "3.00M", "4.00M"]),
        (XKind.TIME, 7200.0, ["0.0s", "30m00s", "1h00m", "1h30m", "2h00m"]),
    ],
)
def test_labels_are_round(kind: XKind, end: float, labels: list[str]) -> None:
    assert [label for _, label in window_axis(kind, 0.0, end, 200, log=False).ticks(5)] == labels


def test_the_cursor_goes_to_steps_of_the_series() -> None:
    steps = [float(step) for step in range(0, 1000, 10)]
    axis = window_axis(XKind.STEP, 0.0, 999.0, 100, log=False)
    assert next_step(steps, 500.0, 1, axis.dot) > 500.0
    assert next_step(steps, 500.0, 10, axis.dot) - 500.0 == pytest.approx(200, abs=20)
    assert next_step(steps, 500.0, -10, axis.dot) - 500.0 == pytest.approx(-200, abs=20)
    assert next_step(steps, 990.0, 1, axis.dot) == 990.0 and next_step(steps, 0.0, -1, axis.dot) == 0.0
    assert next_step(steps, 985.0, 10, axis.dot) == 990.0 and next_step([], 3.0, 1, axis.dot) == 3.0


def test_units_of_losses() -> None:
    assert LossUnit.PERPLEXITY.of_nats(2.0, None) == pytest.approx(math.exp(2))
    assert LossUnit.BITS.of_nats(2.0, 0.5) == 1.0 and LossUnit.NATS.of_nats(2.0, 0.5) == 2.0
    assert math.isfinite(LossUnit.PERPLEXITY.of_nats(1e9, None))
    assert [unit.next(bits_known=True) for unit in LossUnit] == [LossUnit.NATS, LossUnit.PERPLEXITY, LossUnit.BITS]
    assert LossUnit.PERPLEXITY.next(bits_known=False) is LossUnit.NATS
    assert LossUnit.PERPLEXITY.text(23.456) == "23.46" and LossUnit.PERPLEXITY.text(math.inf) == "–"
