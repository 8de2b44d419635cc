"""Several processes train one model: the same as one process with more accumulation, and resumable in the same way."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.train.distributed import ProcessGroup
from tests.core.stages import ROOT
from tests.core.torchrun_job import Job, RankReport, run_job
from tests.core.training import OBJECTIVES, newest_tensors, tensors_equal

Make = Callable[..., Recipe]
MASKED = {name: asked for name, asked in OBJECTIVES.items() if asked}


def together(jobs: list[Job], place: Path, count: int = 2) -> list[list[RankReport]]:
    """What each of `count` processes has to tell of `jobs`, done one after the other."""
    (place / "jobs").write_bytes(msgspec.json.encode(jobs))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    done = subprocess.run(
        [*torchrun, "-m", "tests.core.torchrun_job", str(place / "jobs")],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [msgspec.json.decode((place / f"jobs.{rank}").read_bytes(), type=list[RankReport]) for rank in range(count)]


def test_two_processes_lose_as_one_with_twice_the_accumulation_and_resume_to_the_bit(
    tiny: Make, tokens: Artifact, tmp_path: Path
) -> None:
    def job(name: str, recipe: Recipe, stop: int = 0) -> Job:
        (tmp_path / name).mkdir(exist_ok=True)
        return Job(recipe, str(tokens.path), str(tmp_path / name), stop)

    plain = ("model.dropout=0", "train.evaluate_every=5", "train.micro_batch=2")
    adamw = (*plain, "train.optimizer=adamw", "train.lr=1e-3")
    recipes = {
        "even": (tiny(*adamw, "train.steps=12"), 1e-5),
        "uneven": (tiny(*adamw, "train.steps=12", "train.batch_size=5"), 1e-5),
        "one": (tiny(*adamw, "train.steps=3", "train.batch_size=1"), 1e-5),  # nothing is left for the second
        "muon": (tiny(*plain, "train.steps=6"), 1e-4),  # it rounds to bfloat16, so that a last digit may count
        **{name: (tiny(*adamw, "train.steps=6", "train.batch_size=5", *asked), 1e-5) for name, asked in MASKED.items()},
        "one masked": (tiny(*adamw, "train.steps=3", "train.batch_size=1", "model.objective=masked"), 1e-5),
    }
    stops = (5, 11, 0)
    resumed = {name: tiny("train.steps=16", "train.checkpoint_every=100", *asked) for name, asked in OBJECTIVES.items()}
    jobs = [job(f"two-{name}", recipe) for name, (recipe, _) in recipes.items()]
    for name, dropout in resumed.items():
        jobs += [job(f"whole-{name}", dropout), *(job(f"broken-{name}", dropout, stop) for stop in stops)]
    first, second = together(jobs, tmp_path)
    for told, (name, (recipe, digits)) in zip(first, recipes.items(), strict=False):
        alone = run_job(job(f"alone-{name}", recipe), ProcessGroup())
        assert len(alone.losses) == len(told.losses) == recipe.train.steps
        assert told.losses == pytest.approx(alone.losses, abs=digits)
        assert told.norms == pytest.approx(alone.norms, abs=10 * digits)
        assert told.evaluations == pytest.approx(alone.evaluations, abs=digits)
    assert all(told.different for told in first)
    assert first == second  # every rank has come to the same numbers by itself
    left = iter(first[len(recipes) :])
    for name in resumed:
        whole, *broken = itertools.islice(left, 1 + len(stops))
        assert [told.step for told in broken] == [5, 11, 16]
        assert sum((told.losses for told in broken), start=list[float]()) == whole.losses
        tensors = newest_tensors(tmp_path / f"whole-{name}")
        assert tensors_equal(tensors, newest_tensors(tmp_path / f"broken-{name}"))
        assert {"rng.torch.0", "rng.torch.1"} <= tensors.keys()


def test_alone_every_operation_leaves_things_as_they_are() -> None:
    alone, tensor = ProcessGroup(), torch.tensor([1.0, 2.0])
    alone.all_reduce([tensor])
    assert tensor.tolist() == [1, 2]
    assert alone.all_gather(1, 2.5) == [(1, 2.5)]
    assert alone.gather_random_states({"torch": tensor})[0]["torch"] is tensor
    assert alone.is_main
    assert not alone.orphaned
    before = torch.get_rng_state()
    alone.reseed(1)
    assert torch.equal(torch.get_rng_state(), before)
