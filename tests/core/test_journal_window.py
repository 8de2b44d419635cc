"""The steps of a part of a run, read from its journal: equal to those of the whole journal, restarts included."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.events import AnyEvent, Metric, Note, Resumed, encode
from core.runs import journal_window as module
from core.runs.curves import Curves
from core.runs.journal_window import StepWindow
from core.runs.series import Series


def metric(step: int, attempt: int = 0) -> Metric:
    noise = random.Random(step * 31 + attempt).random()
    return Metric(
        step=step,
        loss=2 + noise + attempt,
        lr=1e-3 / step,
        grad_norm=0.4 + noise,
        tokens=4096 * step,
        seconds=step / 70 + noise / 1000,
        progress=0.5,
    )


def write(path: Path, events: list[AnyEvent]) -> None:
    path.write_bytes(b"".join(encode(event) + b"\n" for event in events))


def restarted(*attempts: tuple[int, int]) -> list[AnyEvent]:
    """The events of attempts, each (the checkpoint it begins after, its last step)."""
    events: list[AnyEvent] = []
    for number, (start, last) in enumerate(attempts):
        if number:
            events.append(Resumed(step=start, checkpoint="c"))
        for step in range(start + 1, last + 1):
            events.append(metric(step, number))
            if step % 50 == 0:
                events.append(Note(text="x" * 300))
    return events


def whole(events: list[AnyEvent]) -> dict[int, float]:
    """The loss of each step that counts."""
    losses: dict[int, float] = {}
    for event in events:
        if isinstance(event, Resumed):
            losses = {step: loss for step, loss in losses.items() if step <= event.step}
        if isinstance(event, Metric):
            losses[event.step] = event.loss
    return losses


@settings(max_examples=25, deadline=None)
@example([(0, 1), (0, 6)], 0, 1)
@example([(0, 6), (5, 1), (2, 3)], 3, 2)
@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 400)), max_size=4),
    st.integers(0, 1000),
    st.integers(1, 500),
)
def test_a_window_has_the_steps_that_count(
    tmp_path_factory: pytest.TempPathFactory, restarts: list[tuple[int, int]], first: int, width: int
) -> None:
    attempts, end = [(0, 1000)], 1000
    for start, length in restarts:
        start = min(start, end)
        end = start + length
        attempts.append((start, end))
    events = restarted(*attempts)
    path = tmp_path_factory.mktemp("window") / "journal.jsonl"
    write(path, events)
    expected = {step: loss for step, loss in whole(events).items() if first - 1 <= step <= first + width}
    window = StepWindow(path, first, first + width)
    assert window.read() == bool(expected)
    if expected:
        loss = window.series["loss"]
        assert loss.span == 1 and dict(zip(loss.index, loss.low, strict=True)) == expected
        assert len(window.series["speed"]) == len(expected) - 1


def test_steps_that_come_later_are_added(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    events = restarted((0, 300))
    write(path, events[:200])
    window = StepWindow(path, 100, 400)
    assert window.read() and window.at_end
    write(path, [*events, Resumed(step=250, checkpoint="c"), metric(251, 1)])
    window.extend()
    loss = window.series["loss"]
    assert loss.index == list(range(99, 252)) and loss.last == metric(251, 1).loss
    early = StepWindow(path, 1, 50)
    assert early.read() and not early.at_end


def test_a_part_that_is_too_long_or_stopped_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, restarted((0, 2000)))
    assert not StepWindow(path, 0, 2000).read(stop=lambda: True)
    assert not StepWindow(path, 3000, 4000).read()
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    assert not StepWindow(path, 0, 2000).read()
    assert StepWindow(path, 1000, 1010).read()


def test_damaged_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [encode(metric(step)) for step in range(1, 100)]
    lines[50] = lines[50][:40] + b"\x00\xff"
    path.write_bytes(b"\n".join([*lines, b'{"type":"Metric","step":1e99}', b'{"type":"Resumed"}', lines[3][:30]]))
    window = StepWindow(path, 40, 90)
    assert window.read() and len(window.series["loss"]) == 51


def test_buckets_of_columns_equal_those_of_single_values() -> None:
    values = [math.sin(step) for step in range(5, 3000)]
    values[100], values[200] = math.nan, math.inf
    columns, single = Series.of_columns(range(5, 3000), values, 4), Series()
    for step, value in enumerate(values, 5):
        single.add(step, value)
    assert single.span == 4
    for name in ("index", "low", "high", "count", "broken", "last", "end"):
        assert getattr(columns, name) == getattr(single, name), name


def test_curves_and_window_have_the_same_series(tmp_path: Path) -> None:
    path, events = tmp_path / "journal.jsonl", restarted((0, 500))
    write(path, events)
    curves, window = Curves(), StepWindow(path, 0, 600)
    for event in events:
        curves.absorb(event)
    assert window.read()
    for name, series in window.series.items():
        assert series.means() == pytest.approx(getattr(curves, name).means()), name
