"""A run that is resumed elsewhere: from two hosts by ssh to this machine, and back to one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.events import AttemptStarted, Metric
from core.recipe.schema import Recipe
from core.runs.directory import Run, RunState
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.cluster.test_targets import finish, workspace  # noqa: F401
from tests.core.training import of_type

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


def test_a_run_moves_between_hosts_and_this_machine(
    workspace: Workspace,  # noqa: F811
    tiny: Callable[..., Recipe],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Run.create(workspace, tiny("train.steps=8"), 2, target="ssh:one,two", nodes=2)
    finish(run, workspace)
    for target, steps, processes in (("local", 12, 1), ("ssh:two", 16, 1)):
        assert command_line(["resume", run.id, "--on", target, "--set", f"train.steps={steps}", "--share"]) == 0
        moved = Run.open(run.path)
        assert (moved.state(), moved.processes, moved.file.nodes) == (RunState.DONE, processes, 1)
    assert "on this machine → ssh:two" in capsys.readouterr().err
    events = list(JournalReader(run.journal).events())
    assert [metric.step for metric in of_type(Metric, events)] == list(range(1, 17))
    assert len(list(of_type(AttemptStarted, events))) == 3
