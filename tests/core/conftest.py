"""Fixtures for the tests of the training."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.jobs.prepare import prepare
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.train.trainer import Trainer
from tests.conftest import tiny_recipe, write_corpus
from tests.core.stages import made
from tests.core.training import CPU, stop_at, train

Make = Callable[..., Recipe]


@pytest.fixture
def tokens(workspace: Workspace, tiny: Callable[..., Recipe]) -> Artifact:
    """The token shards of the small corpus."""
    return made(prepare(tiny(), workspace)).tokens


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def make_recipe(shared_home: Path) -> Make:
    """Tiny recipes, with dropout."""
    corpus = write_corpus(shared_home / "corpus")
    return lambda *overrides: tiny_recipe(corpus, *overrides)


@pytest.fixture(scope="module")
def shared_tokens(shared_home: Path, make_recipe: Make) -> Artifact:
    return made(prepare(make_recipe(), Workspace(shared_home / "home").prepare())).tokens


@pytest.fixture(scope="module")
def saved_pair(shared_home: Path, make_recipe: Make, shared_tokens: Artifact) -> Path:
    """Checkpoints of steps 20 and 30 of 40, for looking at."""
    directory = shared_home / "pair"
    directory.mkdir()
    train(Trainer(make_recipe("train.steps=40"), shared_tokens, directory, CPU), stop_at(30))
    return directory


@pytest.fixture
def copied_pair(saved_pair: Path, tmp_path: Path) -> Path:
    """A copy of `pair`, for everything else."""
    return Path(shutil.copytree(saved_pair, tmp_path / "two"))


@pytest.fixture
def private_tokens(shared_tokens: Artifact, tmp_path: Path) -> Artifact:
    """The tokens, in a place of their own where they may be changed."""
    return Artifact.open(Path(shutil.copytree(shared_tokens.path, tmp_path / "held")))
