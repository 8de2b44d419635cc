"""Runs to look at: finished ones, and one that seems to train for ever: `python -m benchmarks.steady RUN_DIR`.

The second writes what a worker writes, at the pace of one, without any training.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.events import (
    STAGES,
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    Evaluation,
    GeneratedSample,
    HardwareReading,
    Metric,
    ModelInfo,
    StageFinished,
    StageStarted,
    encode,
)
from core.recipe.file import load
from core.runs.directory import Run
from core.runs.journal_snapshot import write_snapshot
from core.runs.launches import Launched
from core.runs.summary import Summary
from core.storage.journal import JournalWriter
from core.storage.locks import Lock
from core.storage.workspace import Workspace

PACE = 0.1
"""Seconds a step: a small model on a few cores."""
STEPS = 4_000
BEFORE = 1_000
"""Steps of the run at the start."""


def opening() -> Iterator[AnyEvent]:
    """What comes before the first step."""
    yield AttemptStarted(attempt=1, pid=1, host="here", device="2 cores, float32")
    for stage in STAGES[:3]:
        yield StageStarted(stage=stage)
        yield StageFinished(stage=stage, artifact="", facts={"documents": 693, "bytes": 11_800_000})
    yield StageStarted(stage="train")
    yield ModelInfo(parameters=4_200_000, flops_per_token=25_000_000, vocabulary=4_096, tokens=3_410_000)


def step(number: int, noise: random.Random) -> Iterator[AnyEvent]:
    """What a step says, and what comes with it now and then."""
    loss = 1.5 + 6 * math.exp(-number / 300) + noise.gauss(0, 0.05)
    yield Metric(
        step=number,
        loss=loss,
        lr=1e-3 * (1 - number / STEPS),
        grad_norm=abs(noise.gauss(0.5, 0.1)),
        tokens=number * 4_096,
        seconds=number * PACE,
        progress=number / STEPS,
    )
    if number % 20 == 0:
        yield HardwareReading(
            cpu=noise.uniform(0.9, 1),
            cores=2,
            ram=int(noise.uniform(4e9, 5e9)),
            ram_total=24 * 10**9,
            process_ram=int(noise.uniform(9e8, 1e9)),
            process_cpu=noise.uniform(1.8, 2),
            disk_free=80 * 10**9,
        )
    if number % 100 == 0:
        bits = loss / math.log(2) / 3.5
        yield Evaluation(step=number, loss=loss, train_loss=loss - 0.1, bits_per_byte=bits, best=True)
        text = f"number_{number}(self):\n    return {number}\n"
        yield GeneratedSample(step=number, prompt="def ", text=text, temperature=0.8, top_k=50, top_p=1.0, seed=number)
    if number % 200 == 0:
        yield CheckpointSaved(step=number, path="", bytes=50_000_000, seconds=0.2)


class Writer:
    """Journal and status of a run, as a worker leaves them."""

    def __init__(self, run: Run) -> None:
        launches = JournalWriter(run.path / "launches.jsonl")
        launches.append(encode(Launched(attempt=1)))
        launches.close()
        self._status, self._journal, self._summary = run.path / "status.json", JournalWriter(run.journal), Summary()

    def say(self, events: Iterable[AnyEvent]) -> None:
        for event in events:
            self._journal.append(encode(event))
            self._summary.absorb(event)

    def write_status(self) -> None:
        write_snapshot(self._status, self._summary, self._journal.path, self._journal.size)


def make_runs(workspace: Workspace, number: int) -> list[str]:
    """Make `number` finished runs; their names, the newest first."""
    names = [f"finished-{n}" for n in range(number)]
    for name in names:
        writer, noise = Writer(Run.create(workspace, load(preset="demo", overrides=[f"name={name}"]))), random.Random(1)
        writer.say(opening())
        for n in range(1, BEFORE):
            writer.say(step(n, noise))
        writer.say([AttemptEnded(attempt=1, outcome="done")])
        writer.write_status()
    return names[::-1]


def main() -> None:
    run, noise = Run.open(Path(sys.argv[1])), random.Random(1)
    lock = Lock.acquire(run.path / "writer.lock")
    assert lock is not None
    writer = Writer(run)
    writer.say(opening())
    for number in range(1, BEFORE):
        writer.say(step(number, noise))
    began = time.monotonic()
    for number in range(BEFORE, STEPS):
        writer.say(step(number, noise))
        if number % 5 == 0:
            writer.write_status()
        time.sleep(max(0.0, began + (number - BEFORE) * PACE - time.monotonic()))


if __name__ == "__main__":
    main()
