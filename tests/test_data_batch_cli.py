"""`llmtui data batch`, with a real inference process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.tokenized_runs import tokenized_run

pytestmark = pytest.mark.heavy

Out = pytest.CaptureFixture[str]


@pytest.fixture
def trained(workspace: Workspace, tiny: Callable[..., Recipe]) -> Run:
    return tokenized_run(workspace, tiny("name=words"))


def test_the_rows_of_a_step_and_the_loss_of_each_token(trained: Run, capsys: Out) -> None:
    assert command_line(["data", "batch", "words", "--step", "3", "--loss"]) == 0
    captured = capsys.readouterr()
    assert f"{trained.id}, step 3: epoch 1, 4 rows of 32 tokens, loss 8.250 in training" in captured.err
    # the output layer of an untrained model is zero: the loss of each token is log(300)
    assert "loss 5.704 under the weights of step 2" in captured.err
    heading, *rows = captured.out.splitlines()
    assert heading.split() == ["ROW", "FROM", "TOKEN", "DOCUMENTS", "LOSS", "TEXT"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4"] and all("5.704" in row for row in rows)

    assert command_line(["data", "batch", "words", "--step", "3", "--row", "2", "--loss"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["TOKEN", "ID", "TEXT", "LOSS"]
    assert len(rows) == 33 and "context alone" in rows[0] and all("5.704" in row for row in rows[1:])

    assert command_line(["data", "batch", "words", "--step", "4", "--row", "1", "--json"]) == 0
    (record,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (record["step"], record["row"], record["weight"], len(record["inputs"])) == (4, 1, 1.0, 32)
    assert record["inputs"][1:] == record["targets"][:-1] and isinstance(record["text"], str)


def test_what_cannot_be_shown_is_said(trained: Run, workspace: Workspace, capsys: Out) -> None:
    assert command_line(["data", "batch", "words", "--step", "3", "--row", "9"]) == 2
    assert "the batch has 4 rows" in capsys.readouterr().err
    (trained.checkpoints / "step-00000002").rename(Path(workspace.data) / "elsewhere")
    assert command_line(["data", "batch", "words", "--step", "3", "--loss"]) == 1
    assert "there is no checkpoint" in capsys.readouterr().err
