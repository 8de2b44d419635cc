"""Run directories as supervisor and worker leave them, written without starting processes."""

from __future__ import annotations

import contextlib
import math
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from core.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    CleaningReport,
    CompressionBaseline,
    Evaluation,
    GeneratedSample,
    HardwareReading,
    Metric,
    ModelInfo,
    Progress,
    StageFinished,
    StageSkipped,
    StageStarted,
    StepEffect,
    TrainingForecast,
    encode,
)
from core.model_size import MemoryEstimate, ParameterCounts
from core.recipe.file import load
from core.runs.directory import Run
from core.runs.launches import Exited, Launched
from core.runs.summary import Summary
from core.storage.artifact import write_directory
from core.storage.files import write_atomic
from core.storage.journal import JournalWriter
from core.storage.workspace import Workspace

TEXT = '''(path, encoding="utf-8"):
    """Return the object in the file `path`."""
    with open(path, encoding=encoding) as file:
        return json.load(file)
'''

TOKENS_PER_STEP = 4096
SECONDS_PER_STEP = 0.23


PLAN = TrainingForecast(
    parameters=ParameterCounts(
        token_embedding=1_048_576,
        positions=0,
        attention=786_432,
        feed_forward=1_572_864,
        norms=1_792,
        output=1_048_576,
    ),
    memory=MemoryEstimate(
        process=440_000_000,
        weights=17_800_000,
        gradients=17_800_000,
        optimizer=26_200_000,
        activations=180_000_000,
        checkpoint=44_000_000,
        peak=682_000_000,
    ),
    micro_batch=4,
    batch=8,
    step_seconds=0.22,
    seconds=120.0,
    tokens=2_140_000,
)


def loss_at(step: int) -> float:
    """A loss like that of a real run, in nats per token: ln 4096 at the start, 2.2 at the end, with noise."""
    return 2.2 + 6.12 * math.exp(-step / 60) + 1.2 * math.exp(-step / 700) + random.Random(step).gauss(0, 0.09)


def metric(step: int, total: int) -> Metric:
    """The event of one training step of `total`."""
    share = step / total
    return Metric(
        step=step,
        loss=loss_at(step),
        lr=1e-3 * (share / 0.05 if share < 0.05 else 0.1 + 0.45 * (1 + math.cos(math.pi * share))),
        grad_norm=0.4 + 2.0 * math.exp(-step / 40) + abs(random.Random(~step).gauss(0, 0.08)),
        tokens=step * TOKENS_PER_STEP,
        seconds=step * SECONDS_PER_STEP + 0.3 * math.sin(step / 9),
        progress=share,
        tick=1000.0 + step * SECONDS_PER_STEP,
    )


def reading(number: int = 0) -> HardwareReading:
    """A hardware reading of two busy cores."""
    return HardwareReading(
        cpu=0.93 + 0.01 * (number % 5),
        cores=2,
        ram=int((4.1 + 0.01 * (number % 7)) * 2**30),
        ram_total=23 * 2**30,
        process_ram=1_214_000_000 + 1_000_000 * (number % 9),
        process_cpu=1.9 + 0.01 * (number % 6),
        disk_free=183_000_000_000,
        peak=715_000_000,
    )


def data_stages() -> Iterator[AnyEvent]:
    """The events of the three data stages."""
    facts: dict[str, Any] = {
        "download": {"documents": 734, "bytes": 12_100_000, "skipped": 0},
        "preprocess": {
            "train_documents": 659,
            "validation_documents": 34,
            "train_bytes": 11_200_000,
            "validation_bytes": 600_000,
            "removed": 41,
        },
        "tokenize": {
            "vocabulary": "bpe",
            "vocabulary_size": 4096,
            "train_tokens": 3_241_000,
            "validation_tokens": 172_000,
            "bytes_per_token": 3.4561,
            "dtype": "uint16",
        },
    }
    yield StageSkipped(stage="download", artifact="/data/artifacts/download-0", facts=facts["download"])
    for stage in ("preprocess", "tokenize"):
        yield StageStarted(stage=stage)
        yield Progress(done=3_000_000, total=6_000_000, unit="bytes")
        if stage == "preprocess":
            yield CleaningReport(steps=(StepEffect(step="duplicates", changed=0, removed=41, bytes=301_774),))
        yield StageFinished(stage=stage, artifact=f"/data/artifacts/{stage}-0", facts=facts[stage])


def training_events(first: int, last: int, total: int) -> Iterator[AnyEvent]:
    """The events of the steps from `first` to `last`: metrics, readings, evaluations, samples, checkpoints."""
    best = math.inf
    for step in range(first, last + 1):
        yield metric(step, total)
        if step % 10 == 0:
            yield Progress(done=step, total=total, unit="steps", tick=1000.0 + step * SECONDS_PER_STEP)
        if step % 5 == 0:
            yield reading(step)
        if step % 100 == 0:
            loss = loss_at(step) + 0.07
            yield Evaluation(
                step=step, loss=loss, train_loss=loss - 0.07, bits_per_byte=loss / math.log(2) / 3.456, best=loss < best
            )
            best = min(best, loss)
            yield GeneratedSample(
                step=step, prompt="def read_json", text=TEXT, temperature=0.8, top_k=50, top_p=1.0, seed=1
            )
        if step % 200 == 0:
            yield CheckpointSaved(step=step, path=f"step-{step:08d}", bytes=51_000_000, seconds=0.4)


def events_before_training() -> Iterator[AnyEvent]:
    """The events of an attempt before its first training step."""
    yield AttemptStarted(attempt=1, pid=1, host="here", device="2 cores, bfloat16")
    yield from data_stages()
    yield StageStarted(stage="train")
    yield ModelInfo(parameters=4_262_400, flops_per_token=28_000_000, vocabulary=4096, tokens=3_241_000)
    yield PLAN
    yield CompressionBaseline(name="gzip -9", bits_per_byte=1.972)
    yield CompressionBaseline(name="xz -9", bits_per_byte=1.683)


class FakeWorker:
    """Writes journal and status of a run as a worker does."""

    def __init__(self, run: Run) -> None:
        self.run, self.summary = run, Summary()
        self._journal = JournalWriter(run.journal)

    def write_events(self, *events: AnyEvent) -> None:
        """Append to the journal and replace the status."""
        for event in events:
            self._journal.append(encode(event))
            self.summary.absorb(event)
        write_atomic(self.run.path / "status.json", msgspec.json.encode(self.summary), durable=False)


def make_run(workspace: Workspace, name: str, *overrides: str) -> Run:
    """A run of the demo recipe."""
    return Run.create(workspace, load(preset="demo", overrides=[f"name={name}", *overrides]))


def write_launch(run: Run, *, gave_up: bool = False, code: int | None = None, attempt: int = 1) -> None:
    """Append the supervisor's records of one attempt. code: exit code of the worker, if it has ended."""
    records = JournalWriter(run.path / "launches.jsonl")
    records.append(msgspec.json.encode(Launched(attempt=attempt)))
    if code is not None:
        records.append(msgspec.json.encode(Exited(attempt=attempt, code=code, gave_up=gave_up)))


def make_checkpoint(run: Run, step: int) -> None:
    """A complete checkpoint without weights."""
    write_directory(
        run.checkpoints / f"step-{step:08d}",
        "train",
        f"{step:016d}",
        lambda path: (path / "x").write_text("x") and None,
        facts={"step": step, "slice_loss": loss_at(step)},
    )


def finished_run(workspace: Workspace, name: str, steps: int = 1200) -> Run:
    """A run that has finished."""
    run = make_run(workspace, name)
    write_launch(run, code=0)
    worker = FakeWorker(run)
    worker.write_events(*events_before_training(), *training_events(1, steps, steps))
    worker.write_events(
        StageFinished(stage="train", artifact="x", facts={"steps": steps}),
        StageStarted(stage="sample"),
        StageFinished(stage="sample", artifact="x", facts={"samples": 3}),
        AttemptEnded(attempt=1, outcome="done"),
    )
    make_checkpoint(run, steps)
    return run


def failed_run(workspace: Workspace, name: str) -> Run:
    """A run that failed with a reason."""
    run = make_run(workspace, name)
    write_launch(run, code=1)
    FakeWorker(run).write_events(
        *events_before_training(),
        *training_events(1, 40, 1000),
        AttemptEnded(
            attempt=1,
            outcome="failed",
            what="out of memory with batches of 8",
            kept="no checkpoint yet",
            todo="try train.batch_size = 4",
            exit_code=1,
        ),
    )
    return run


HOLD = """
import sys
from pathlib import Path
from core.storage.locks import Lock
locks = [Lock.acquire(Path(path)) for path in sys.argv[1:]]
print("held" if all(locks) else "busy", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def hold_locks(run: Run) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the locks of the run, as supervisor and worker do while it is active."""
    with hold(*(run.path / name for name in ("supervisor.lock", "writer.lock"))) as process:
        yield process


@contextlib.contextmanager
def hold(*locks: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process holds these locks."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *locks], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()
