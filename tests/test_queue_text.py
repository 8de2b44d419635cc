"""Why a queued run waits, in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.events import Metric
from core.recipe.file import load
from core.runs.directory import Run, RunState
from core.runs.run_file import RunFile
from core.runs.summary import Summary
from llmtui.tui.widgets.panels import StagesPane
from llmtui.view.queue_text import ordinal, queue_reason
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.units import clock


@dataclass
class Some:
    """Snapshots of runs by name."""

    snapshots: list[RunSnapshot] = field(default_factory=list)

    def add(self, name: str, state: RunState, place: int = 0, **train: Any) -> RunSnapshot:
        overrides = [f"train.{key}={value}" for key, value in train.items()]
        recipe = load(base={"name": name, "source": {"corpus": "stdlib"}}, overrides=overrides)
        run = Run(Path(f"20260101-000000-{name}-0000"), RunFile(recipe=recipe, made_at=0.0))
        summary = Summary()
        if state is RunState.RUNNING:
            summary.stage = "train"
            summary.stages["train"].state = "working"
            summary.metric = Metric(step=10, loss=2.0, lr=1e-3, grad_norm=1.0, tokens=100, seconds=600.0, progress=0.5)
        self.snapshots.append(RunSnapshot(run, state, summary, None, 0.0, None, queue_place=place))
        return self.snapshots[-1]


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd"), (112, "112th")]
)
def test_ordinals(number: int, text: str) -> None:
    assert ordinal(number) == text


def test_the_first_starts_when_the_running_one_ends() -> None:
    some = Some()
    some.add("bard", RunState.RUNNING)
    waiting = some.add("next", RunState.QUEUED, 1)
    assert queue_reason(waiting, some.snapshots, now=1e9) == f"1st, after bard, starts about {clock(1e9 + 600)}"


def test_the_second_starts_when_the_first_has_used_its_minutes() -> None:
    some = Some()
    some.add("bard", RunState.RUNNING)
    some.add("next", RunState.QUEUED, 1, minutes=5)
    waiting = some.add("last", RunState.QUEUED, 2)
    assert queue_reason(waiting, some.snapshots, now=1e9) == f"2nd, after next, starts about {clock(1e9 + 900)}"


def test_no_time_is_given_where_it_is_unknown() -> None:
    some = Some()
    some.add("bard", RunState.RUNNING)
    some.add("next", RunState.QUEUED, 1, steps=500)
    waiting = some.add("last", RunState.QUEUED, 2)
    assert queue_reason(waiting, some.snapshots) == "2nd, after next"
    other = Some()
    other.add("bard", RunState.PAUSED)
    assert queue_reason(other.add("next", RunState.QUEUED, 1), other.snapshots) == "1st, after bard, which is paused"


def test_the_train_screen_says_why_a_run_waits() -> None:
    some = Some()
    some.add("bard", RunState.PAUSED)
    pane = StagesPane()
    pane.snapshot, pane.snapshots = some.add("next", RunState.QUEUED, 1), tuple(some.snapshots)
    text = "\n".join("".join(part for part, _ in line) for line in pane.lines(60, 12))
    assert "Waits in the queue: 1st, after bard, which is paused." in text and "The loss chart" not in text
