"""Several processes train one model: the same as one process with more accumulation, and resumable in the same way."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from core.recipe.schema import Recipe
from core.runs.launch import child_environment, python_command
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.train.distributed import ProcessGroup
from tests.core.torchrun_job import Job, RankReport, run_job
from tests.core.training import OBJECTIVES, newest_tensors, tensors_equal

pytestmark = pytest.mark.heavy

Make = Callable[..., Recipe]
MASKED = {name: overrides for name, overrides in OBJECTIVES.items() if overrides}


def run_by_torchrun(jobs: list[Job], directory: Path, count: int = 2) -> list[list[RankReport]]:
    """The reports of each of `count` processes, which run `jobs` one after the other."""
    (directory / "jobs").write_bytes(msgspec.json.encode(jobs))
    torchrun = python_command("torch.distributed.run", "--standalone", "--nproc-per-node", str(count))
    done = subprocess.run(
        [*torchrun, "-m", "tests.core.torchrun_job", str(directory / "jobs")],
        env=child_environment(Workspace()) | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [
        msgspec.json.decode((directory / f"jobs.{rank}").read_bytes(), type=list[RankReport]) for rank in range(count)
    ]


def test_two_processes_match_one_with_twice_the_accumulation_and_resume_bit_identically(
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
        "one": (tiny(*adamw, "train.steps=3", "train.batch_size=1"), 1e-5),  # no sequence for rank 1
        "muon": (tiny(*plain, "train.steps=6"), 1e-5),
        "sharded": (tiny(*adamw, "train.steps=6", "train.sharding=full"), 1e-5),
        "sharded muon": (tiny(*plain, "train.steps=6", "train.batch_size=5", "train.sharding=full"), 1e-5),
        **{
            name: (tiny(*adamw, "train.steps=6", "train.batch_size=5", *overrides), 1e-5)
            for name, overrides in MASKED.items()
        },
        "sharded masked": (
            tiny(*plain, "train.steps=6", "train.batch_size=5", "model.objective=masked", "train.sharding=full"),
            1e-5,
        ),
        "sharded, one": (tiny(*adamw, "train.steps=3", "train.batch_size=1", "train.sharding=full"), 1e-5),
        "one masked": (tiny(*adamw, "train.steps=3", "train.batch_size=1", "model.objective=masked"), 1e-5),
    }
    stops = (5, 11, 0)
    resumed = {
        name: tiny("train.steps=16", "train.checkpoint_every=100", *overrides) for name, overrides in OBJECTIVES.items()
    }
    jobs = [job(f"two-{name}", recipe) for name, (recipe, _) in recipes.items()]
    whole_run = run_job(job("one process", recipes["muon"][0]), ProcessGroup())
    moved, stop = tiny(*plain, "train.steps=6", "train.sharding=full"), 3
    before = run_job(job("to two", moved, stop), ProcessGroup())
    jobs += [job("to two", moved), job("to one", moved, stop)]
    for name, dropout in resumed.items():
        jobs += [job(f"whole-{name}", dropout), *(job(f"interrupted-{name}", dropout, stop) for stop in stops)]
    first, second = run_by_torchrun(jobs, tmp_path)
    for report, (name, (recipe, tolerance)) in zip(first, recipes.items(), strict=False):
        single = run_job(job(f"single-{name}", recipe), ProcessGroup())
        assert len(single.losses) == len(report.losses) == recipe.train.steps
        assert report.losses == pytest.approx(single.losses, abs=tolerance)
        assert report.norms == pytest.approx(single.norms, abs=10 * tolerance)
        assert report.evaluations == pytest.approx(single.evaluations, abs=tolerance)
    assert all(report.different for report in first)
    assert first == second  # every rank computes the same numbers
    to_two, to_one = first[len(recipes) : len(recipes) + 2]
    to_one_after = run_job(job("to one", moved), ProcessGroup())
    for parts in ((before, to_two), (to_one, to_one_after)):
        assert sum((part.losses for part in parts), start=list[float]()) == pytest.approx(whole_run.losses, abs=1e-5)
    remaining = iter(first[len(recipes) + 2 :])
    for name in resumed:
        whole, *interrupted = itertools.islice(remaining, 1 + len(stops))
        assert [report.step for report in interrupted] == [5, 11, 16]
        assert sum((report.losses for report in interrupted), start=list[float]()) == whole.losses
        tensors = newest_tensors(tmp_path / f"whole-{name}")
        assert tensors_equal(tensors, newest_tensors(tmp_path / f"interrupted-{name}"))
        assert {"rng.torch.0", "rng.torch.1"} <= tensors.keys()


@pytest.mark.cluster
@pytest.mark.parametrize("sharding", ["none", "full"])
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_four_processes_match_one_and_other_numbers_resume_them(
    tiny: Make, tokens: Artifact, tmp_path: Path, optimizer: str, objective: str, sharding: str
) -> None:
    recipe = tiny(
        *("model.dropout=0", "train.steps=12", "train.evaluate_every=5", "train.micro_batch=1", "train.batch_size=7"),
        *(f"train.optimizer={optimizer}", f"train.sharding={sharding}", "train.lr=1e-3", *OBJECTIVES[objective]),
    )

    def job(name: str, stop: int = 0) -> Job:
        (tmp_path / name).mkdir(exist_ok=True)
        return Job(recipe, str(tokens.path), str(tmp_path / name), stop)

    single = run_job(job("single"), ProcessGroup())
    ((whole, four), *_) = run_by_torchrun([job("four"), job("moved", 4)], tmp_path, 4)
    ((two,), *_) = run_by_torchrun([job("moved", 8)], tmp_path, 2)
    one = run_job(job("moved"), ProcessGroup())
    assert whole.losses == pytest.approx(single.losses, abs=1e-5)
    assert [*four.losses, *two.losses, *one.losses] == pytest.approx(single.losses, abs=1e-5)
    assert whole.norms == pytest.approx(single.norms, abs=1e-4)
    assert whole.evaluations == pytest.approx(single.evaluations, abs=1e-5)


def test_all_processes_change_the_learning_rate_at_the_same_step(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    recipe = tiny("train.steps=6", "train.schedule=constant", "train.warmup=0", "train.lr=1e-3")
    reports = run_by_torchrun([Job(recipe, str(tokens.path), str(tmp_path), halve_lr=3)], tmp_path)
    assert [rank[0].rates for rank in reports] == [[1e-3] * 3 + [5e-4] * 3] * 2
    assert len({tuple(rank[0].losses) for rank in reports}) == 1


def test_with_one_process_every_collective_is_the_identity() -> None:
    group, tensor = ProcessGroup(), torch.tensor([1.0, 2.0])
    group.all_reduce([tensor])
    assert tensor.tolist() == [1, 2]
    assert group.all_gather(1, 2.5) == [(1, 2.5)]
    assert group.gather_random_states({"torch": tensor})[0]["torch"] is tensor
    assert group.is_main
    assert not group.orphaned
    before = torch.get_rng_state()
    group.reseed(1)
    assert torch.equal(torch.get_rng_state(), before)
