"""What a run does besides training, in shares of bare steps: `python -m benchmarks.overhead`.

The demo's model on the standard library, driven by the worker as any run. After some steps of the run come some bare
ones: the same model, optimisers, data and clipping, without events, requests and checks, so that a slow minute hurts
both alike. Calls are timed by part; that nothing else costs time is checked by comparing the run's steps, less all
that is called at intervals, with the bare ones.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from msgspec import Struct

import core.pipeline
import core.runs.recorder
import core.train.trainer
from benchmarks.harness import Figure, home, options, report
from core.events import Metric
from core.hardware import HardwareMonitor
from core.recipe.file import load
from core.runs.control import ControlRequests
from core.runs.directory import Run
from core.runs.launch import child_environment, python_command
from core.runs.summary import Summary
from core.storage.journal import JournalWriter
from core.storage.locks import Lock
from core.storage.workspace import Workspace
from core.train.async_checkpoint import AsyncCheckpointer
from core.train.commands import EventStream
from core.train.evaluate import EvaluationWindows
from core.train.step import StepTotals, accumulate_gradients, optimizer_step, reduce_gradients
from core.train.trainer import Trainer
from core.worker import Worker

AT_MOST = 2.0
"""Percent of the time of bare steps."""
STEPS = 810
"""Four samples' worth of steps in whole turns, the first turn being left out."""
TURN, BARE = 10, 5
"""Steps of the run before it is the turn of bare ones, and how many those are."""

CALLS: dict[str, tuple[tuple[Any, str], ...]] = {
    "journal and status": (
        (JournalWriter, "append"),
        (Summary, "absorb"),
        (core.runs.recorder, "encode"),
        (core.runs.recorder, "write_snapshot"),
    ),
    "meter": ((HardwareMonitor, "read"),),
    "control": tuple(
        (ControlRequests, name) for name in ("pending", "pause", "take_stop", "take_samples", "take_checkpoint")
    ),
    "checks": ((StepTotals, "finite"),),
    "live sampling": ((core.train.trainer, "generate_sample"),),
    "evaluation": ((EvaluationWindows, "evaluate"),),
    "checkpoints": tuple((AsyncCheckpointer, name) for name in ("begin", "poll")),
}
"""The functions timed, by part."""
EACH_STEP = ("journal and status", "meter", "control", "checks")
EXCLUDED = ("evaluation", "checkpoints")
"""Parts that the claim does not cover."""


class CallTimer:
    """Seconds spent in each part. A call within another counts with the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(CALLS, 0.0)
        self._inside = False

    def since(self, before: dict[str, float]) -> dict[str, float]:
        """Seconds since `seconds` were as they were `before`."""
        return {part: seconds - before[part] for part, seconds in self.seconds.items()}

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return function(*arguments, **named)
            self._inside, began = True, time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self._inside = False
                self.seconds[part] += time.perf_counter() - began

        return call

    @contextlib.contextmanager
    def everywhere(self) -> Iterator[None]:
        """While this lasts, all of `CALLS` are timed."""
        with contextlib.ExitStack() as stack:
            for part, functions in CALLS.items():
                for owner, name in functions:
                    original = getattr(owner, name)
                    if isinstance(original, property):
                        assert original.fget is not None
                        timed: Any = property(self.timed(part, original.fget))
                    else:
                        timed = self.timed(part, original)
                    stack.enter_context(mock.patch.object(owner, name, timed))
            yield


class Turn(Struct, frozen=True):
    """Seconds of some steps of the run and of the bare ones after them."""

    run: float
    bare: float
    """Of as many steps as the run took."""
    parts: dict[str, float]


def interleaved(timer: CallTimer, turns: list[Turn]) -> type[Trainer]:
    """A trainer that takes bare steps at intervals, and appends to `turns` how long each kind took."""

    class Interleaved(Trainer):
        def run(self) -> EventStream:
            commands, before, since = None, dict(timer.seconds), 0.0
            with contextlib.closing(super().run()) as events:
                while True:
                    try:
                        event = events.send(commands)
                    except StopIteration:
                        return
                    commands = yield event
                    if not isinstance(event, Metric) or event.step % TURN:
                        continue
                    run, parts = time.perf_counter() - since, timer.since(before)
                    bare = self._bare(event.step) * TURN / BARE
                    if since:  # the first are for memory and libraries to settle
                        turns.append(Turn(run, bare, parts))
                    before, since = dict(timer.seconds), time.perf_counter()

        def _bare(self, step: int) -> float:
            """Seconds of `BARE` steps."""
            began = time.perf_counter()
            for number in range(step, step + BARE):
                indices = range(self.recipe.train.batch_size)
                batch = self._objective(self._batches(number), step=number, indices=indices)
                nats = accumulate_gradients(self.parallel, batch, self.state.micro_batch, self.recipe.train)
                optimizer_step(
                    self.parallel,
                    self.optimizers,
                    reduce_gradients(self.parallel, nats, batch.count),
                    self.recipe.train.grad_clip,
                )
            return time.perf_counter() - began

    return Interleaved


def measured(directory: Path) -> dict[str, float]:
    """Train the run in `directory`; the time of each part, in percent of that of bare steps."""
    run, timer, turns = Run.open(directory), CallTimer(), list[Turn]()
    lock = Lock.acquire(directory / "writer.lock")
    assert lock is not None
    with lock, timer.everywhere(), mock.patch.object(core.pipeline, "Trainer", interleaved(timer, turns)):
        code = Worker(run, 1, lock).run()
    if code:
        raise RuntimeError(run.summary().ended)
    bare = sum(turn.bare for turn in turns)
    at_intervals = set(CALLS) - set(EACH_STEP)
    less = [turn.run - sum(turn.parts[part] for part in at_intervals) for turn in turns]
    ratios = [left / turn.bare for left, turn in zip(less, turns, strict=True)]
    return {
        "ms": 1000 * bare / len(turns) / TURN,
        "steps": 100 * (statistics.median(ratios) - 1),
        **{part: 100 * sum(turn.parts[part] for turn in turns) / bare for part in CALLS},
    }


def main() -> int:
    chosen = options(__doc__)
    steps = STEPS // 10 if chosen.quick else STEPS
    overrides = [f"train.steps={steps}"]
    if chosen.quick:
        overrides += ["train.sample_every=20", "source.max_bytes=2_000_000"]
    with home():
        workspace = Workspace().prepare()
        run = Run.create(workspace, load(preset="demo", overrides=overrides))
        command = python_command("benchmarks.overhead", str(run.path))
        done = subprocess.run(command, env=child_environment(workspace), stdout=subprocess.PIPE, check=True)
    milliseconds: dict[str, float] = json.loads(done.stdout)
    unit = "% of bare steps"
    together = sum(milliseconds[part] for part in CALLS if part not in EXCLUDED)
    compared = milliseconds["steps"] + milliseconds["live sampling"]
    parts = [
        Figure(name="a bare step", value=milliseconds["ms"], unit="ms"),
        *(Figure(name=part, value=milliseconds[part], unit=unit) for part in CALLS),
        Figure(name="all but the last two, as timed", value=together, unit=unit, at_most=AT_MOST),
        Figure(name="the run's steps more than bare ones, and sampling", value=compared, unit=unit, at_most=AT_MOST),
    ]
    return report(parts, chosen)


if __name__ == "__main__":
    if len(sys.argv) == 2 and Path(sys.argv[1]).is_dir():
        print(json.dumps(measured(Path(sys.argv[1]))))
    else:
        sys.exit(main())
