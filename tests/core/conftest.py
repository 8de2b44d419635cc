"""What tests of the training begin with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.jobs.prepare import prepare
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from tests.core.stages import made


@pytest.fixture
def tokens(workspace: Workspace, tiny: Callable[..., Recipe]) -> Artifact:
    """The token shards of the small corpus."""
    return made(prepare(tiny(), workspace)).tokens
