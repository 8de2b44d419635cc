"""Fixtures for the tests of the pipeline."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from core.download import fetch, hub_client
from core.jobs.prepare import prepare
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.train.trainer import Trainer
from tests.conftest import tiny_recipe, write_corpus
from tests.core.hub_standin import HubStandIn, use
from tests.core.stages import return_value
from tests.core.training import CPU, stop_at, train
from tests.core.url_server import QUICK, Server

Make = Callable[..., Recipe]


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="session")
def make_recipe(shared_home: Path) -> Make:
    """Tiny recipes, with dropout."""
    corpus = write_corpus(shared_home / "corpus")
    return lambda *overrides: tiny_recipe(corpus, *overrides)


@pytest.fixture(scope="session")
def tokens(shared_home: Path, make_recipe: Make) -> Artifact:
    """The token shards of the small corpus, for looking at."""
    return return_value(prepare(make_recipe(), Workspace(shared_home / "home").prepare())).tokens


@pytest.fixture(scope="session")
def saved_pair(shared_home: Path, make_recipe: Make, tokens: Artifact) -> Path:
    """Checkpoints of steps 20 and 30 of 40, for looking at."""
    directory = shared_home / "pair"
    directory.mkdir()
    train(Trainer(make_recipe("train.steps=40"), tokens, directory, CPU), stop_at(30))
    return directory


@pytest.fixture
def copied_pair(saved_pair: Path, tmp_path: Path) -> Path:
    """A copy of `saved_pair`, for everything else."""
    return Path(shutil.copytree(saved_pair, tmp_path / "two"))


@pytest.fixture
def private_tokens(tokens: Artifact, tmp_path: Path) -> Artifact:
    """The tokens, in a place of their own where they may be changed."""
    return Artifact.open(Path(shutil.copytree(tokens.path, tmp_path / "held")))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """A hub without data sets, with short timeouts."""
    for name, value in {
        "RETRY_SECONDS": 15.0,
        "FIRST_RESPONSE_SECONDS": 15.0,
        "READ_TIMEOUT": 0.5,
        "BACKOFF": 0.02,
        "MAX_BACKOFF": 0.1,
    }.items():
        monkeypatch.setattr(hub_client, name, value)
    with HubStandIn() as standin:
        use(standin.endpoint, tmp_path / "hf", monkeypatch)
        yield standin


@pytest.fixture
def short_retries(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that fail after less than a second of retries."""
    for name in ("RETRY_SECONDS", "FIRST_RESPONSE_SECONDS"):
        monkeypatch.setattr(hub_client, name, 0.7)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server for one file, to which private addresses are allowed."""
    monkeypatch.setenv("LLMTUI_ALLOW_PRIVATE_URLS", "1")
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetch, "RETRY_POLICY", QUICK)
    with Server() as serving:
        threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield serving
        serving.shutdown()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small models take longer on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
