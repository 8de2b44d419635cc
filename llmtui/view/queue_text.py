"""The queue of runs as text: the place of a run, what it waits for, and when it will start."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from core.recipe.schema import Train
from core.runs.directory import RunState
from llmtui.view import run_text, units
from llmtui.view.run_snapshot import RunSnapshot


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def queue_reason(snapshot: RunSnapshot, snapshots: Sequence[RunSnapshot], now: float | None = None) -> str:
    """Why a queued run waits, and about when it starts if that is known: "2nd, after bard, starts about 14:20".

    snapshots: of all runs. now: seconds since the epoch, by default the current time.
    """
    snapshots = [other for other in snapshots if other.run.host == snapshot.run.host]  # each machine has its own queue
    by_place = {other.queue_place: other for other in snapshots if other.queue_place}
    ahead = [by_place[place] for place in range(1, snapshot.queue_place) if place in by_place]
    running = [other for other in snapshots if other.state in (RunState.RUNNING, RunState.PAUSED, RunState.STARTING)]
    parts = [ordinal(snapshot.queue_place)] if snapshot.queue_place else []
    before = ahead[-1:] or (running if len(running) == 1 else [])
    if before:
        parts.append(f"after {run_text.name(before[0])}")
    elif running:
        parts.append(f"after one of {len(running)} runs")
    seconds = _seconds_until_start(ahead, running)
    if seconds is not None:
        parts.append(f"starts about {units.clock((time.time() if now is None else now) + seconds)}")
    elif any(other.state is RunState.PAUSED for other in running):
        parts.append("which is paused")
    return ", ".join(parts)


def _seconds_until_start(ahead: Sequence[RunSnapshot], running: Sequence[RunSnapshot]) -> float | None:
    """Seconds until the run before ends; None unless one run trains and all times are known."""
    if len(running) != 1 or running[0].state is not RunState.RUNNING or running[0].summary.stage != "train":
        return None
    left = run_text.seconds_left(running[0].summary)
    durations = [left, *(_planned_seconds(other.run.recipe.train) for other in ahead)]
    return None if None in durations else sum(seconds for seconds in durations if seconds is not None)


def _planned_seconds(train: Train) -> float | None:
    """The time of a training that time alone limits."""
    return 60.0 * train.minutes if train.minutes and not train.steps and not train.tokens else None


def using_text(occupants: Mapping[str, str]) -> list[str]:
    """A sentence for each device in use."""
    names = {"cpu": "the processor", "mps": "the GPU"}
    return [f"{names.get(device, f'GPU {device}')} is used by {run_id}" for device, run_id in occupants.items()]
