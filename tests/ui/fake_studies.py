"""Studies whose trials are run directories as workers leave them, written without starting processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from core.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    Evaluation,
    Metric,
    ModelInfo,
    StageFinished,
    StageStarted,
)
from core.recipe.file import load
from core.runs.directory import Run
from core.runs.run_file import StudyTrial
from core.storage.journal import JournalWriter
from core.storage.workspace import Workspace
from core.tune.controller import Controller
from core.tune.space import with_values
from core.tune.study import Study
from core.tune.study_file import StudyFile
from core.tune.trials import TrialCreated
from tests.ui.fake_runs import FakeWorker, write_launch

SPACE = {
    "train.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "train.batch_size": [8, 16, 32],
    "model.n_layer": [2, 4, 6],
}
STEPS = 60
FAILURE = "the loss is not finite"
NATS_PER_BIT = math.log(2) * 3.0


def result_of(run: Run) -> float:
    """Bits per byte: the lowest at a learning rate of 3e-3 and six layers."""
    recipe = run.recipe
    return 1.4 + (math.log10(recipe.train.lr) - math.log10(3e-3)) ** 2 / 4 + 0.2 / recipe.model.n_layer


def trial_events(run: Run, steps: int = STEPS) -> Iterator[AnyEvent]:
    """Events of the first `steps` steps of a trial."""
    yield AttemptStarted(attempt=1, pid=1, host="here", device="cpu")
    yield StageFinished(stage="tokenize", artifact="x", facts={"bytes_per_token": 3.0})
    yield StageStarted(stage="train")
    yield ModelInfo(parameters=100_000 * run.recipe.model.n_layer, flops_per_token=1, vocabulary=256, tokens=10**6)
    for step in range(1, steps + 1):
        bits = result_of(run) + 5 * math.exp(-step / 8)
        yield Metric(
            step=step,
            loss=bits * NATS_PER_BIT,
            lr=run.recipe.train.lr,
            grad_norm=1.0,
            tokens=step * run.recipe.train.batch_size * 64,
            seconds=step * 0.5,
            progress=step / STEPS,
        )
        if step % 20 == 0:
            yield Evaluation(
                step=step, loss=bits * NATS_PER_BIT, train_loss=None, bits_per_byte=bits, best=True, final=step == STEPS
            )


def finish(run: Run, workspace: Workspace, share: bool) -> None:
    """A trial that is done."""
    write_launch(run, code=0)
    FakeWorker(run).write_events(*trial_events(run), AttemptEnded(attempt=1, outcome="done"))


def fail(run: Run, workspace: Workspace, share: bool) -> None:
    """A trial that has failed."""
    write_launch(run, code=1)
    ended = AttemptEnded(attempt=1, outcome="failed", what=FAILURE, todo="a lower learning rate", exit_code=1)
    FakeWorker(run).write_events(*trial_events(run, 10), ended)


Ending = Callable[[Run, Workspace, bool], None]


def make_study(
    workspace: Workspace, name: str = "bard", trials: int = 8, endings: Sequence[Ending] = (finish,), **settings: Any
) -> Study:
    """A study of so many trials, all of which have ended, as `endings` say in turn."""
    tables = {"name": name, "source": {"corpus": "stdlib"}, "train": {"minutes": 0.5, "device": "cpu"}}
    file = StudyFile(**{"space": SPACE, "trials": trials, **settings})
    study = Study.create(workspace.prepare(), load(base=tables), file)
    started = 0

    def start(run: Run, where: Workspace, share: bool) -> None:
        nonlocal started
        endings[started % len(endings)](run, where, share)
        started += 1

    controller = Controller(study, workspace, start)
    while not controller.tick():
        pass
    return study


def add_trial(study: Study, workspace: Workspace, values: dict[str, Any]) -> Run:
    """One more trial, which has not ended: its run, without any event."""
    number = len(study.trials()) + 1
    recipe = replace(with_values(study.recipe, values), name=f"{study.name}-{number:03d}")
    run = Run.create(workspace, recipe, study=StudyTrial(id=study.id, number=number, values=values))
    created = TrialCreated(number=number, run_id=run.id, values=values, seed=1)
    JournalWriter(study.journal).append(msgspec.json.encode(created))
    return run
