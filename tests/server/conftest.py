"""Runs and a server process for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from core.runs.directory import Run
from core.storage.workspace import Workspace
from tests.byte_models import TEMPLATES, run_with_checkpoints
from tests.server.serving import Served

if TYPE_CHECKING:
    import openai


@pytest.fixture(scope="module")
def server_workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("served")).prepare()


@pytest.fixture(scope="module")
def plain(server_workspace: Workspace) -> Run:
    """A run of a base model."""
    return run_with_checkpoints(server_workspace, 100, 200, name="plain")


@pytest.fixture(scope="module")
def bot(server_workspace: Workspace) -> Run:
    """A run with chat templates."""
    return run_with_checkpoints(server_workspace, 100, name="bot", chat=TEMPLATES, context=1024)


@pytest.fixture(scope="module")
def served(server_workspace: Workspace, plain: Run, bot: Run) -> Iterator[Served]:
    served = Served(server_workspace)
    yield served
    served.process.kill()
    served.process.wait()


@pytest.fixture(scope="module")
def client(served: Served) -> openai.OpenAI:
    return served.client()
