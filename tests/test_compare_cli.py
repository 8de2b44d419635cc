"""`llmtui compare`."""

from __future__ import annotations

import json

import pytest

from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.ui.fake_runs import FakeWorker, events_before_training, make_run, training_events

pytestmark = pytest.mark.usefixtures("in_temporary_directory")


def trained(workspace: Workspace, name: str, *overrides: str, steps: int = 100) -> str:
    run = make_run(workspace, name, *overrides)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, steps, 200))
    return run.id


def test_the_table_has_what_differs_and_says_whether_seeds_differ_as_much(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    first = trained(workspace, "base", "train.seed=1")
    trained(workspace, "again", "train.seed=2", steps=200)
    trained(workspace, "wide", "model.n_embd=512")
    assert command_line(["compare", "base", "again", "wide"]) == 0
    text = capsys.readouterr().out
    assert "▸ base ×2" in text and "N_EMBD" in text and "512" in text and "SEED" in text
    assert "N_HEAD" not in text, "the same in all"
    assert "the spread of 2 seeds" in text
    assert command_line(["compare", "base", "wide", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["baseline"] == [first] and record["groups"][0]["runs"][0]["recipe"]["model.n_embd"] in (128, 512)
    assert record["differences"] == {}


def test_runs_are_chosen_by_a_filter_and_sorted_by_a_field(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    for embedding in (512, 64):
        trained(workspace, f"width{embedding}", f"model.n_embd={embedding}")
    trained(workspace, "other", "train.lr=1e-4")
    assert command_line(["compare", "--filter", "width", "--sort", "model.n_embd", "--baseline", "width512"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[1].split()[:2] == ["2", "width64"] and "baseline" in rows[2]
    assert not any("other" in row for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["base"], "takes two runs"),
        (["base", "wide", "--sort", "nonsense"], "there is no column 'nonsense'"),
        (["--filter", "val<"], "val< lacks a value"),
    ],
)
def test_what_cannot_be_compared_is_said(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    trained(workspace, "base")
    trained(workspace, "wide", "model.n_embd=512")
    assert command_line(["compare", *arguments]) == 2
    assert message in capsys.readouterr().err
