"""One of the processes of a training in `test_ranks`: python -m torch.distributed.run ... -m tests.core.torchrun_job JOBS"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from core.events import Evaluation, Metric
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.train.checkpoint import get_random_states
from core.train.commands import Stop
from core.train.distributed import ProcessGroup
from core.train.trainer import Trainer
from tests.core.training import CPU, train


class Job(Struct, frozen=True):
    """A training, or a part of one."""

    recipe: Recipe
    tokens: str
    directory: str
    stop: int = 0
    """The step after which the first rank is asked to stop; 0: none."""


class RankReport(Struct, frozen=True):
    """What a training has said."""

    losses: list[float]
    norms: list[float]
    evaluations: list[float]
    step: int
    different: bool
    """Whether every rank began with random numbers of its own."""


def run_job(job: Job, group: ProcessGroup) -> RankReport:
    trainer = Trainer(job.recipe, Artifact.open(Path(job.tokens)), Path(job.directory), CPU, group)
    states = {state["torch"].numpy().tobytes() for state in group.gather_random_states(get_random_states())}
    asked = (Stop(),) if group.is_main else None
    said = train(trainer, lambda metric: asked if metric.step == job.stop else None)
    return RankReport(
        losses=[event.loss for event in said if isinstance(event, Metric)],
        norms=[event.grad_norm for event in said if isinstance(event, Metric)],
        evaluations=[event.loss for event in said if isinstance(event, Evaluation)],
        step=trainer.state.step,
        different=len(states) == group.world_size,
    )


def main() -> None:
    jobs = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[Job])
    with ProcessGroup.join("cpu") as group:
        told = [run_job(job, group) for job in jobs]
        Path(f"{sys.argv[1]}.{group.rank}").write_bytes(msgspec.json.encode(told))


if __name__ == "__main__":
    main()
