"""The program that `test_distributed` starts by torchrun: -m tests.core.torchrun_job JOBS, a file of `Job`s as JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from core.events import Evaluation, Metric
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.train import data_parallel
from core.train.checkpoint import get_random_states
from core.train.commands import ChangeLearningRate, Commands, Stop
from core.train.distributed import ProcessGroup
from core.train.trainer import Trainer
from tests.core.training import CPU, train


class Job(Struct, frozen=True):
    """A training to run, or a part of one."""

    recipe: Recipe
    tokens: str
    directory: str
    stop: int = 0
    """The step after which rank 0 stops the training; 0: it runs to its end."""
    halve_lr: int = 0
    """The step after which rank 0 halves the learning rate; 0: never."""


class RankReport(Struct, frozen=True):
    """What one rank reports of a training."""

    losses: list[float]
    norms: list[float]
    rates: list[float]
    evaluations: list[float]
    step: int
    different: bool
    """Whether the ranks started with different random states."""


def run_job(job: Job, group: ProcessGroup) -> RankReport:
    trainer = Trainer(job.recipe, Artifact.open(Path(job.tokens)), Path(job.directory), CPU, group)
    states = {state["torch"].numpy().tobytes() for state in group.gather_random_states(get_random_states())}
    commands: dict[int, Commands] = {job.halve_lr: (ChangeLearningRate(0.5),), job.stop: (Stop(),)}
    events = train(trainer, lambda metric: commands.get(metric.step) if group.is_main else None)
    return RankReport(
        losses=[event.loss for event in events if isinstance(event, Metric)],
        norms=[event.grad_norm for event in events if isinstance(event, Metric)],
        rates=[event.lr for event in events if isinstance(event, Metric)],
        evaluations=[event.loss for event in events if isinstance(event, Evaluation)],
        step=trainer.state.step,
        different=len(states) == group.world_size,
    )


def main() -> None:
    jobs = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[Job])
    data_parallel.BUCKET_BYTES = 2**14  # a tiny model has several buckets
    with ProcessGroup.join("cpu") as group:
        reports = [run_job(job, group) for job in jobs]
        Path(f"{sys.argv[1]}.{group.rank}").write_bytes(msgspec.json.encode(reports))


if __name__ == "__main__":
    main()
