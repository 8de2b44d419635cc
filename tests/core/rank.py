"""One of the processes of a training in `test_ranks`: python -m torch.distributed.run ... -m tests.core.rank JOBS"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from core.events import Evaluation, Metric
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.train import checkpoint as checkpoints
from core.train.commands import Stop
from core.train.distributed import Ranks
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


def run(job: Job, ranks: Ranks) -> RankReport:
    trainer = Trainer(job.recipe, Artifact.open(Path(job.tokens)), Path(job.directory), CPU, ranks)
    states = {state["torch"].numpy().tobytes() for state in ranks.gather(checkpoints.random_states())}
    asked = (Stop(),) if ranks.first else None
    said = train(trainer, lambda metric: asked if metric.step == job.stop else None)
    return RankReport(
        losses=[event.loss for event in said if isinstance(event, Metric)],
        norms=[event.grad_norm for event in said if isinstance(event, Metric)],
        evaluations=[event.loss for event in said if isinstance(event, Evaluation)],
        step=trainer.state.step,
        different=len(states) == ranks.count,
    )


def main() -> None:
    jobs = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[Job])
    with Ranks.join("cpu") as ranks:
        told = [run(job, ranks) for job in jobs]
        Path(f"{sys.argv[1]}.{ranks.index}").write_bytes(msgspec.json.encode(told))


if __name__ == "__main__":
    main()
