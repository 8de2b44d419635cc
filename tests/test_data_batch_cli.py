"""`llmtui data batch`, with a real inference process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.events import Metric, StageFinished, encode
from core.jobs.prepare import prepare
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.runs.summary import Summary
from core.storage.files import write_atomic
from core.storage.journal import JournalWriter
from core.storage.workspace import Workspace
from core.tokenize.vocabulary import Vocabulary
from llmtui.cli.main import run as command_line
from tests.byte_models import save_checkpoint
from tests.core.stages import return_value

pytestmark = pytest.mark.heavy

Out = pytest.CaptureFixture[str]


@pytest.fixture
def trained(workspace: Workspace, tiny: Callable[..., Recipe]) -> Run:
    """A run with token shards, a checkpoint of step 2, and two steps in its journal."""
    recipe = tiny("name=words")
    tokens = return_value(prepare(recipe, workspace)).tokens
    run = Run.create(workspace, recipe)
    summary, journal = Summary(), JournalWriter(run.journal)
    finished = StageFinished(stage="tokenize", artifact=str(tokens.path), facts=tokens.facts)
    steps = [
        Metric(step=step, loss=loss, lr=1e-3, grad_norm=1.0, tokens=128 * step, seconds=step, progress=0.1)
        for step, loss in ((2, 9.125), (3, 8.5), (3, 8.25))  # resumed from step 2
    ]
    for event in (finished, *steps):
        journal.append(encode(event))
        summary.absorb(event)
    journal.close()
    write_atomic(run.path / "status.json", encode(summary))
    save_checkpoint(run.checkpoints, 2, recipe.model, Vocabulary.load(tokens.path / "vocabulary.json"))
    return run


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
