"""Run directories for tests of the command line, and the command line as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from core.events import (
    AttemptEnded,
    AttemptStarted,
    CompressionBaseline,
    Evaluation,
    Event,
    GeneratedSample,
    Metric,
    ModelInfo,
    StageFinished,
    StageSkipped,
    StageStarted,
    encode,
)
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.runs.launches import Launched
from core.runs.summary import Summary
from core.storage.artifact import write_directory
from core.storage.files import write_atomic
from core.storage.journal import JournalWriter
from core.storage.workspace import Workspace
from tests.ui.fake_runs import PLAN

ROOT = Path(__file__).parent.parent
LLMTUI = [sys.executable, "-P", "-c", "from llmtui.cli.main import main; main()"]
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egpj"

TRAINED: list[Event] = [
    AttemptStarted(tick=0, attempt=1, pid=1, host="here", device="2 cores, float32"),
    StageSkipped(tick=0.1, stage="download", artifact="a", facts={"documents": 734, "bytes": 12_100_000}),
    StageStarted(tick=1, stage="preprocess"),
    StageFinished(tick=4, stage="preprocess", artifact="b", facts={"documents": 693}),
    CompressionBaseline(tick=5, name="gzip -9", bits_per_byte=1.97),
    CompressionBaseline(tick=5, name="xz -9", bits_per_byte=1.68),
    StageStarted(tick=6, stage="train"),
    ModelInfo(tick=6, parameters=3_410_000, flops_per_token=2, vocabulary=4096, tokens=3_000_000),
    PLAN,
    Metric(tick=7, step=1, loss=8.3, lr=1e-3, grad_norm=1.0, tokens=4096, seconds=1.0, progress=0.25),
    Metric(tick=8, step=2, loss=8.2, lr=1e-3, grad_norm=1.0, tokens=8192, seconds=2.0, progress=0.5),
    Metric(tick=12, step=3, loss=8.1, lr=1e-3, grad_norm=1.0, tokens=12288, seconds=3.0, progress=0.75),
    Evaluation(tick=13, step=3, loss=3.21, train_loss=3.1, bits_per_byte=1.46, best=True),
    StageFinished(tick=14, stage="train", artifact="c", facts={"step": 3}),
    StageStarted(tick=15, stage="sample"),
    GeneratedSample(
        tick=16, step=3, prompt="def ", text="main():\n    pass", temperature=0.8, top_k=50, top_p=1.0, seed=1
    ),
    StageFinished(tick=17, stage="sample", artifact="d", facts={"samples": 1}),
]
DONE = [*TRAINED, AttemptEnded(tick=18, attempt=1, outcome="done")]


def made(workspace: Workspace, events: list[Event], name: str = "tiny") -> Run:
    """A run with `events` in its journal and no processes."""
    run = Run.create(workspace, Recipe(name=name))
    launches = JournalWriter(run.path / "launches.jsonl")
    launches.append(encode(Launched(attempt=1)))
    journal, summary = JournalWriter(run.journal), Summary()
    for event in events:
        journal.append(encode(event))
        summary.absorb(event)
    journal.close()
    launches.close()
    write_atomic(run.path / "status.json", encode(summary))
    return run


def spawn(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LLMTUI, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def checkpoint(run: Run, step: int, loss: float) -> Path:
    """A checkpoint without a model in it. loss: the validation loss in its facts."""

    def write(path: Path) -> None:
        (path / "model.safetensors").write_bytes(b"weights")

    return write_directory(
        run.checkpoints / f"step-{step:08d}", "train", "f", write, facts={"step": step, "slice_loss": loss}
    ).path
